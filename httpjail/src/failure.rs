//! The error that ends a run early, in words for the user. Any part may fail; only [`crate::logging`] prints it.

use serde::{Deserialize, Serialize};

/// An error for the user.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub(crate) struct Failure {
    /// Which operation failed, on which object, and why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// httpjail's exit status.
    pub status: u8,
}

impl Failure {
    /// Creates a failure of httpjail itself (exit status 125).
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            hint: None,
            status: 125,
        }
    }
}
