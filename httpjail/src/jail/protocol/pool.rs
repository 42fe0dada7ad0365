//! The messages between a pool, its jails, and who takes one of them.
//!
//! A pool's process accepts connections and gives each to a jail that waits. From then on the jail's supervisor and the
//! client talk to each other alone.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use crate::backend::Outcome;
use crate::failure::Failure;

/// What the client sends to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToJail {
    /// Start the command. The first message, with the descriptors that [`Order`] tells of.
    Start(Box<Order>),
    /// Send this signal to the command. SIGCONT continues it after a stop.
    Signal(i32),
}

/// What the supervisor sends to the client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToClient {
    /// The command runs. With a terminal of the jail's, its outer end comes with this message.
    Started,
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command has ended, and with it everything in the jail.
    Ended(Outcome),
    /// Nothing was started, or httpjail failed.
    Failed(Failure),
}

/// A command, and what it has of the client. With it come, in this order: the words (the arguments, then the variables), the
/// working directory if the client has one, the three standard descriptors, and the pipes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The client's version of httpjail.
    pub version: String,
    /// How many of the words are arguments.
    pub arguments: usize,
    /// Whether the working directory comes.
    pub directory: bool,
    /// Whether a terminal of the jail's stands for the standard descriptors that are terminals.
    pub terminal: bool,
    pub surroundings: Surroundings,
}

/// What a child has of its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    /// The mask of file modes.
    pub umask: u32,
    /// The limits by their numbers (`getrlimit(2)`), soft and hard.
    pub limits: Vec<(u64, u64)>,
    /// The signals that are ignored.
    pub ignored: Vec<i32>,
    /// The numbers under which the command has the pipes.
    pub pipes: Vec<i32>,
}

/// What the pool sends to the supervisor of a jail that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToSpare {
    /// Serve the client whose connection comes with this message: its user and groups, as the kernel tells them.
    Client {
        /// The user.
        uid: u32,
        /// The primary group.
        gid: u32,
        /// The other groups.
        groups: Vec<u32>,
    },
}

/// What the supervisor sends to the pool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromSpare {
    /// The jail is armed and waits.
    Ready,
    /// It cannot be made, or has ended.
    Failed(Failure),
}

/// The supervisor's end of its channel to the client.
pub(crate) type ClientLine = IpcChannel<ToClient, ToJail>;
/// The client's end of it.
pub(crate) type JailLine = IpcChannel<ToJail, ToClient>;
/// The supervisor's end of its channel to the pool.
pub(crate) type SpareEnd = IpcChannel<FromSpare, ToSpare>;
