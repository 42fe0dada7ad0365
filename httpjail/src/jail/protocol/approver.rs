//! The messages between the supervisor and the approver.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use crate::failure::Failure;

/// What the supervisor asks of the approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ApproverRequest {
    /// Relay the jail's terminal, whose outer end comes with this message.
    Relay,
    /// The job will be stopped: leave the terminal to the shell.
    Suspend,
    /// The job continues.
    Resume,
    /// The jail has ended: show the rest of its output, and end.
    Finish,
}

/// The approver's reply.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ApproverReply {
    /// It has given up its rights and waits; or it has done what it was asked.
    Done,
    /// It cannot continue.
    Failed(Failure),
}

/// The approver's end of its channel.
pub(crate) type ApproverEnd = IpcChannel<ApproverReply, ApproverRequest>;
