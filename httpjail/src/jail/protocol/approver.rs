//! What the supervisor and the approver say to each other.

use serde::{Deserialize, Serialize};

use super::channel::IpcChannel;
use crate::failure::Failure;

/// What the supervisor tells the approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ApproverRequest {
    /// The outer end of the jail's terminal comes along: relay.
    Relay,
    /// The job is about to be stopped: leave the terminal to the shell.
    Suspend,
    /// The job goes on.
    Resume,
    /// The jail has ended: show the last of it, and end.
    Finish,
}

/// What the approver tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ApproverReply {
    /// It has no more rights than it needs, and waits; or the order is carried out.
    Done,
    /// It cannot go on.
    Failed(Failure),
}

/// The approver's end of the line.
pub(crate) type ApproverEnd = IpcChannel<ApproverReply, ApproverRequest>;
