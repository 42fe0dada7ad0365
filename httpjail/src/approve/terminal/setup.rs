//! What the process that holds the terminal gets at its start.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::file::PolicyFile;

/// The descriptors and options of the process that holds the terminal.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The caller's terminal, opened for this process alone.
    pub terminal: File,
    /// The socket from which requests come.
    pub requests: UnixStream,
    /// The policy file that "always" writes to.
    pub policy: Option<PolicyFile>,
    /// How long a question stays on the screen.
    pub limit: Duration,
    /// The code that every real question of this run shows.
    pub mark: String,
}
