//! What can be decided about a request, for how long, and why not.

use serde::{Deserialize, Serialize};

use super::grant::GrantScope;

/// A decision about one request. It has no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ApprovalDecision {
    /// Forward it.
    Allow(GrantDuration),
    /// Refuse it.
    Deny(GrantDuration, Denial),
}

/// How long a decision holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GrantDuration {
    /// For this request, and for identical ones that wait with it.
    Once,
    /// Until the run ends, for the requests in this scope.
    Run(GrantScope),
}

/// Why a request was not approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Denial {
    /// The approver denied it; a program may say why.
    ByApprover(Option<String>),
    /// There was no decision in time.
    TimedOut,
    /// Too many requests wait.
    TooMany,
    /// The approver failed; the text says how.
    Failed(String),
    /// The run is over.
    RunEnded,
}

impl Denial {
    /// Returns the short stable phrase for the log.
    pub(crate) fn phrase(&self) -> &'static str {
        match self {
            Denial::ByApprover(_) => "not approved",
            Denial::TimedOut => "not approved in time",
            Denial::TooMany => "too many questions",
            Denial::Failed(_) => "approval failed",
            Denial::RunEnded => "the run is over",
        }
    }

    /// Returns a sentence for the client.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Denial::ByApprover(None) => "No rule allows this request, and it was not approved.".to_owned(),
            Denial::ByApprover(Some(why)) => format!("No rule allows this request, and it was not approved: {why}"),
            Denial::TimedOut => "No rule allows this request, and it was not approved in time.".to_owned(),
            Denial::TooMany => "No rule allows this request, and too many requests wait for an answer.".to_owned(),
            Denial::Failed(why) => format!("No rule allows this request, and asking failed: {why}"),
            Denial::RunEnded => "No rule allows this request, and the run is over.".to_owned(),
        }
    }
}
