//! The messages between the supervisor and the proxy's process.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use super::fd_passing::Counts;
use crate::failure::Failure;
use crate::net::{Holder, Program};

/// What the supervisor sends to the proxy's process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToProxy {
    /// Serve the jail's sockets, which come with this message.
    Serve {
        /// How many of each kind.
        counts: Counts,
    },
    /// The answer to [`FromProxy::Program`].
    Program {
        /// The number of the request.
        request_id: u64,
        /// What the process runs, if that is known.
        program: Option<Program>,
    },
    /// The answer to [`FromProxy::Log`]. The log comes with this message, if it could be opened.
    Log {
        /// The number of the request.
        request_id: u64,
        /// Why the log could not be opened.
        error: Option<String>,
    },
    /// The policy file has changed. Its new texts come with this message, or `error` says why there are none.
    Policy {
        /// The number of the request, if it was asked for by [`FromProxy::Reload`].
        request_id: Option<u64>,
        /// The reason, for the user.
        error: Option<String>,
    },
    /// The answer to [`FromProxy::Holder`].
    Holder {
        /// The number of the request.
        request_id: u64,
        /// The process that has the socket open, if it is known.
        holder: Option<Holder>,
    },
    /// Lines for the user go to the file that comes with this message: the jail has been taken from a pool.
    Screen,
    /// The command has ended: finish the log and end. The supervisor answers no more requests. The log comes with this
    /// message, opened again in case it was moved away.
    Finish {
        /// The command's exit status as a shell reports it, 0 to 255.
        status: i32,
    },
}

/// What the proxy's process sends to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromProxy {
    /// The authority is loaded, and the process has given up root.
    Ready {
        /// The authority's certificate, PEM.
        authority: String,
    },
    /// The log can be written, and the sockets are served.
    Serving,
    /// The process cannot continue.
    Failed(Failure),
    /// Asks which program a process runs.
    Program {
        /// The number that the answer repeats.
        request_id: u64,
        /// The process id in the supervisor's PID namespace.
        pid: u32,
    },
    /// Asks which process has a socket of the jail open.
    Holder {
        /// The number that the answer repeats.
        request_id: u64,
        /// The socket's inode number.
        socket: u32,
    },
    /// Asks to open the request log again, because it was moved away.
    Log {
        /// The number that the answer repeats.
        request_id: u64,
    },
    /// Asks to look at the policy file now, because somebody has asked for that by the control socket.
    Reload {
        /// The number that the answer repeats.
        request_id: u64,
    },
}

/// The proxy's end of its channel.
pub(crate) type ProxyEnd = IpcChannel<FromProxy, ToProxy>;
