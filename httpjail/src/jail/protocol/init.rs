//! The messages between the supervisor and the jail's init.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use super::command::StartFailure;
use super::fd_passing::Counts;
use super::pool::Surroundings;

/// What the supervisor asks of init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitRequest {
    /// Set up the network from inside, and pass its sockets out.
    Connect(Inside),
    /// Arrange the mounts: the ids of the user namespace, if there is one, are mapped.
    Arrange {
        /// Whether there is a user namespace.
        user_namespace: bool,
    },
    /// Test the steering from inside.
    Probe {
        /// Whether the namespace speaks IPv6.
        ipv6: bool,
    },
    /// Test from inside whether Unix sockets of the host can be reached. Two of them come with this message, and maybe a pipe.
    ProbeSockets {
        /// Set if init makes the connections.
        notify: Option<Notify>,
    },
    /// Make a terminal, and make it the controlling terminal of init's session, in which the command will run.
    MakeTerminal,
    /// Pass out the namespaces that a process must enter to make sockets of the jail's network.
    Open {
        /// Whether there is a user namespace.
        user_namespace: bool,
    },
    /// The command is another than the one that was planned: that of who took the jail from a pool. Its words, the three standard
    /// descriptors and its pipes come with this message.
    Take(Taken),
    /// Start the command.
    Run {
        /// Make the command the terminal's foreground group.
        foreground: bool,
        /// Set if init makes the command's connections to Unix sockets.
        notify: Option<Notify>,
    },
    /// Send this signal to the command's process group.
    Signal(i32),
    /// Continue after a stop.
    Resume {
        /// Make the command the terminal's foreground group first.
        foreground: bool,
    },
}

/// What init reports to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitReply {
    /// The network is set up. Its sockets come with this message.
    Connected {
        /// How many of each kind.
        counts: Counts,
        /// For `-v`.
        note: String,
    },
    /// The mounts are arranged; notes for `-v`.
    Arranged(Vec<String>),
    /// What the self-test found wrong; empty when the jail holds.
    Probed(Vec<String>),
    /// The result of the test of Unix sockets.
    ProbedSockets(ProbeOutcome),
    /// The terminal is made. Its outer end comes with this message.
    Terminal,
    /// The namespaces come with this message: the user namespace, if the jail has one, and the network namespace that it owns.
    Opened,
    /// The command has been executed.
    Started,
    /// The command did not start.
    NotStarted(StartFailure),
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command ended: its exit status.
    Exited(i32),
    /// The command was ended by this signal.
    Killed(i32),
    /// Changes in a copied directory that could not be copied back to the host's.
    NotCarried(Vec<String>),
    /// A step failed.
    Failed(String),
}

/// A command from outside: the words are its home, its working directory, its arguments and its variables.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Whether these have to be set: a user namespace of one's own has nobody else in it.
    pub changes_user: bool,
    /// How many of the words are arguments.
    pub arguments: usize,
    /// Device and inode of the working directory; none if it has no path.
    pub directory: Option<(u64, u64)>,
    pub surroundings: Surroundings,
}

/// Init's end of its channel.
pub(crate) type InitEnd = IpcChannel<InitReply, InitRequest>;

/// What init must know if it steers from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inside {
    /// Connections to a loopback port without a listener in the jail go to the proxy. Otherwise they are refused at once.
    pub host_loopback: bool,
}

/// What init must know to make the jail's connections to Unix sockets itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notify {
    /// The jail has a user namespace of its own.
    pub user_namespace: bool,
    /// The namespace has more than one user.
    pub users: bool,
}

/// The result of the self-test of Unix sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ProbeOutcome {
    /// The test process reached the jail's sockets, and nothing else.
    Holds,
    /// The test cannot run here, for this reason.
    Cannot(String),
    /// The test process reached a socket that it must not, or not its own.
    Broken(Vec<String>),
}
