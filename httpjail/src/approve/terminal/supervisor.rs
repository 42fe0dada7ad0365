//! The supervisor as the process that holds the terminal sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What the supervisor wants.
#[derive(Debug)]
pub(crate) enum TerminalCommand {
    /// Relay between the caller's terminal and this one.
    Relay(OwnedFd),
    /// Leave the caller's terminal to the shell.
    Suspend,
    /// Take it again.
    Resume,
    /// Show the last of the jail's output, and end.
    Finish,
}

/// The supervisor, as it is heard from here. Readable when there is an order.
pub(crate) trait Supervisor: AsFd {
    /// The next order.
    ///
    /// # Errors
    /// When the supervisor is gone.
    fn next(&self) -> io::Result<TerminalCommand>;

    /// Tells that the last one is carried out.
    ///
    /// # Errors
    /// When the supervisor is gone.
    fn done(&self) -> io::Result<()>;
}
