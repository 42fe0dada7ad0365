//! Why a container does not start.

/// What cannot be held, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// What it is, and why it cannot be held.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
}

impl Refused {
    /// Creates a refusal without a remedy.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Refused {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the remedy.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Refused {
            hint: Some(hint.into()),
            ..self
        }
    }
}
