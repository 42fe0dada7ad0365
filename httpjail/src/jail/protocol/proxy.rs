//! What the supervisor and the proxy's process say to each other.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use super::fd_passing::Counts;
use crate::failure::Failure;
use crate::net::{Holder, Program};

/// What the supervisor tells the proxy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToProxy {
    /// The jail's sockets come along, in this order and number: proxy, resolver over UDP, resolver over TCP.
    Serve {
        /// How many of each.
        counts: Counts,
    },
    /// The answer to [`FromProxy::Program`].
    Program {
        /// The number of the request.
        request_id: u64,
        /// What it runs, if it can be told.
        program: Option<Program>,
    },
    /// The answer to [`FromProxy::Log`]; the log comes along, if it could be opened.
    Log {
        /// The number of the request.
        request_id: u64,
        /// Why it could not.
        error: Option<String>,
    },
    /// The policy file has changed: its new texts come along, or this is why there are none.
    Policy {
        /// In words for the user.
        error: Option<String>,
    },
    /// The answer to [`FromProxy::Holder`].
    Holder {
        /// The number of the request.
        request_id: u64,
        /// Who has it open, if it can be told.
        holder: Option<Holder>,
    },
    /// The command has ended (its exit status as the shell counts): finish the log and end. Nothing is answered any more; the
    /// log comes along, opened anew, should it have been moved away.
    Finish {
        /// 0 to 255.
        status: i32,
    },
}

/// What the proxy tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromProxy {
    /// The authority is loaded and root given up.
    Ready {
        /// The authority's certificate, PEM.
        authority: String,
    },
    /// The log can be written and the sockets are served.
    Serving,
    /// It cannot go on.
    Failed(Failure),
    /// Which program is this process?
    Program {
        /// Repeated in the answer.
        request_id: u64,
        /// Its process id as the supervisor counts.
        pid: u32,
    },
    /// Who has this socket of the jail's open?
    Holder {
        /// Repeated in the answer.
        request_id: u64,
        /// Its inode number.
        socket: u32,
    },
    /// The request log was moved away: open it anew.
    Log {
        /// Repeated in the answer.
        request_id: u64,
    },
}

/// The proxy's end of the line.
pub(crate) type ProxyEnd = IpcChannel<FromProxy, ToProxy>;
