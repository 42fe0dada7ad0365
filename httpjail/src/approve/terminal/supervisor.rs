//! The supervisor, as the process that holds the terminal sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A command of the supervisor.
#[derive(Debug)]
pub(crate) enum TerminalCommand {
    /// Relay between the caller's terminal and this one.
    Relay(OwnedFd),
    /// Give the caller's terminal back to the shell.
    Suspend,
    /// Take the caller's terminal again.
    Resume,
    /// Show the rest of the jail's output, and end.
    Finish,
}

/// The channel to the supervisor. It is readable when there is a command.
pub(crate) trait Supervisor: AsFd {
    /// Reads the next command.
    ///
    /// # Errors
    /// Fails when the supervisor has ended.
    fn next(&self) -> io::Result<TerminalCommand>;

    /// Reports that the last command is carried out.
    ///
    /// # Errors
    /// Fails when the supervisor has ended.
    fn done(&self) -> io::Result<()>;
}
