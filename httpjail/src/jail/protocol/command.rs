//! What the fork of init that becomes the command says to init.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;

/// Why the command did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StartFailure {
    /// No such program: exit status 127.
    NotFound,
    /// The program is there but cannot be executed (the error number): exit status 126.
    NotExecutable(i32),
    /// A step of the jail itself failed: exit status 125.
    Jail(String),
}

/// What the fork of init tells init before it is the command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CommandEvent {
    /// Its filter is in force, and hands calls over. Where they arrive comes along. It waits to be told to go on.
    Watched,
    /// It will not be the command.
    Failed(StartFailure),
}

/// Its line to init.
pub(crate) type CommandEnd = IpcChannel<CommandEvent, ()>;
