//! What the supervisor and the jail's init say to each other.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use super::command::StartFailure;
use super::fd_passing::Counts;

/// What the supervisor tells init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitRequest {
    /// Set up the network from inside and hand its sockets out.
    Connect(Inside),
    /// The user namespace, if there is one, is mapped: arrange the mounts.
    Arrange {
        /// Whether there is one.
        user_namespace: bool,
    },
    /// Try the steering from inside.
    Probe {
        /// Whether the namespace speaks IPv6.
        ipv6: bool,
    },
    /// Try from inside whether Unix sockets of the outside are reached. Two of them come along, and maybe a pipe.
    ProbeSockets {
        /// Whether init makes the connections.
        notify: Option<Notify>,
    },
    /// Make a terminal and let it be that of init's session, in which the command will run.
    MakeTerminal,
    /// Hand out the namespaces that a process outside must enter to make sockets of this network.
    Open {
        /// Whether there is a user namespace.
        user_namespace: bool,
    },
    /// Start the command.
    Run {
        /// Make it the terminal's foreground group.
        foreground: bool,
        /// Whether init makes its connections to Unix sockets.
        notify: Option<Notify>,
    },
    /// Send this signal to the command's process group.
    Signal(i32),
    /// Go on after a stop.
    Resume {
        /// Make the command the terminal's foreground group first.
        foreground: bool,
    },
}

/// What init tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitReply {
    /// The network is set up. Its sockets come along.
    Connected {
        /// How many of each.
        counts: Counts,
        /// For `-v`.
        note: String,
    },
    /// The mounts are arranged; notes for `-v`.
    Arranged(Vec<String>),
    /// What the canary saw that must not be; empty when the jail holds.
    Probed(Vec<String>),
    /// What came of trying the Unix sockets.
    ProbedSockets(ProbeOutcome),
    /// There is a terminal. Its outer end comes along.
    Terminal,
    /// The namespaces come along: the user namespace, if the jail has one, and the network namespace that it owns.
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
    /// Of the folders that stand for the host's this could not be carried back.
    NotCarried(Vec<String>),
    /// A step failed.
    Failed(String),
}

/// Init's end of the line.
pub(crate) type InitEnd = IpcChannel<InitReply, InitRequest>;

/// What init must know where it steers from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inside {
    /// A loopback port on which nobody in the jail listens goes to the proxy; else the connect is refused at once.
    pub host_loopback: bool,
}

/// What init must know to make the jail's connections itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notify {
    /// The jail has a user namespace of its own.
    pub user_namespace: bool,
    /// It knows more users than one.
    pub users: bool,
}

/// What the canary found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ProbeOutcome {
    /// It reached its own, and nothing else.
    Holds,
    /// It could not be tried here, for this reason.
    Cannot(String),
    /// It was tried and does not hold.
    Broken(Vec<String>),
}
