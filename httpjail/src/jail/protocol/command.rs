//! The messages from the fork of init that becomes the command.

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

/// What the fork of init reports before it becomes the command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CommandEvent {
    /// Its filter is in force and sends notifications. The descriptor that receives them comes with this message. The fork
    /// waits for an answer.
    Watched,
    /// It cannot become the command.
    Failed(StartFailure),
}

/// Its end of the channel to init.
pub(crate) type CommandEnd = IpcChannel<CommandEvent, ()>;
