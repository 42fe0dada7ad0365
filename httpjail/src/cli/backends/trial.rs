//! What a trial of a backend found.

use crate::failure::Failure;

/// What `doctor` tells of a backend.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    /// Whether it holds the command whatever that does.
    pub(crate) is_strong: bool,
    /// How it works here, or why not.
    pub(crate) result: Result<Vec<String>, Failure>,
}
