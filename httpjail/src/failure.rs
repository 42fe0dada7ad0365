//! What ends a run before its time, in words for the user. Any part may fail; one place prints it ([`crate::logging`]).

use serde::{Deserialize, Serialize};

/// An error for the user.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What failed, on what, why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// httpjail's exit status.
    pub status: u8,
}

impl Failure {
    /// A failure of httpjail itself (exit status 125).
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            hint: None,
            status: 125,
        }
    }
}
