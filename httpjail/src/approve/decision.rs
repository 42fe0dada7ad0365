//! What can be decided about a request, and for how long.

use serde::{Deserialize, Serialize};

use super::grant::GrantScope;

/// What was answered. There is no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ApprovalDecision {
    /// Let it through.
    Allow(GrantDuration),
    /// Refuse it.
    Deny(GrantDuration, Denial),
}

/// For how long an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GrantDuration {
    /// For this request, and those like it that wait with it.
    Once,
    /// To the end of the run, for so much.
    Run(GrantScope),
}

/// Why a question was answered with no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Denial {
    /// Whoever was asked said so; a program may say why.
    Said(Option<String>),
    /// Nobody answered in time.
    Late,
    /// Too many questions.
    Crowded,
    /// Whoever is to be asked failed, and how.
    Failed(String),
    /// The run is over.
    Over,
}

impl Denial {
    /// The short stable phrase of the log.
    pub(crate) fn phrase(&self) -> &'static str {
        match self {
            Denial::Said(_) => "not approved",
            Denial::Late => "not approved in time",
            Denial::Crowded => "too many questions",
            Denial::Failed(_) => "approval failed",
            Denial::Over => "the run is over",
        }
    }

    /// A sentence for the client.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Denial::Said(None) => "No rule allows this request, and it was not approved.".to_owned(),
            Denial::Said(Some(why)) => format!("No rule allows this request, and it was not approved: {why}"),
            Denial::Late => "No rule allows this request, and nobody approved it in time.".to_owned(),
            Denial::Crowded => "No rule allows this request, and too many such wait for an answer.".to_owned(),
            Denial::Failed(why) => format!("No rule allows this request, and asking failed: {why}"),
            Denial::Over => "No rule allows this request, and the run is over.".to_owned(),
        }
    }
}
