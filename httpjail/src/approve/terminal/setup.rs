//! What the process that holds the terminal is given at its start.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::file::PolicyFile;

/// What it takes to hold a terminal.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The caller's terminal, opened for this alone.
    pub terminal: File,
    /// Where questions come from.
    pub requests: UnixStream,
    /// The policy file that "always" writes to.
    pub policy: Option<PolicyFile>,
    /// How long a question stays.
    pub limit: Duration,
    /// What a real question of this run bears.
    pub mark: String,
}
