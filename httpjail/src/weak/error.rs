//! Why a command did not run to its end, with httpjail's exit status for it.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// There is no such program.
    #[error("command not found: {0}")]
    NotFound(String),
    /// There is one, but it cannot be executed.
    #[error("cannot execute {0}: {1}")]
    NotExecutable(String, io::Error),
    /// The system failed us.
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
}

impl RunError {
    /// httpjail's own exit status for it.
    pub(crate) fn status(&self) -> u8 {
        match self {
            RunError::NotFound(_) => 127,
            RunError::NotExecutable(..) => 126,
            RunError::System(..) => 125,
        }
    }

    /// Of a command that did not start.
    pub(super) fn of_start(program: &OsString, error: io::Error) -> RunError {
        let name = program.to_string_lossy().escape_debug().to_string();
        // A script whose interpreter is missing is not found either, though the script is.
        match error.kind() {
            io::ErrorKind::NotFound if !Path::new(program).is_file() => RunError::NotFound(name),
            _ => RunError::NotExecutable(name, error),
        }
    }
}
