//! `--interactive`: holds the caller's terminal, relays between it and the jail's own, and asks there.
//!
//! The jail has a pseudo-terminal and no way to the caller's. What it writes is passed on; while a question is on the
//! screen nothing of it is (it waits in the kernel, and then the program waits), so it can neither draw over the question
//! nor scroll it away. What is typed goes to the jail, but not while a question is there; and what is typed before somebody can
//! have seen the question is no answer. After the answer the screen is the program's again.
//!
//! One thread, one loop, in a process with the caller's rights that can neither open a socket nor start a program.

mod console;
mod file;
mod keys;
mod prompt;
mod questions;
mod relay;
mod screen;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use console::Console;
pub(crate) use file::PolicyFile;

/// What the supervisor wants.
#[derive(Debug)]
pub(crate) enum Order {
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
    fn next(&self) -> io::Result<Order>;

    /// Tells that the last one is carried out.
    ///
    /// # Errors
    /// When the supervisor is gone.
    fn done(&self) -> io::Result<()>;
}

/// What it takes to hold a terminal.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The caller's terminal, opened for this alone.
    pub terminal: File,
    /// Where questions come from.
    pub questions: UnixStream,
    /// The policy file that "always" writes to.
    pub policy: Option<PolicyFile>,
    /// How long a question stays.
    pub limit: Duration,
    /// What a real question of this run bears.
    pub mark: String,
}

/// Relays and asks until the supervisor has enough or is gone. The terminal is as it was found then. Every signal must be
/// blocked.
///
/// # Errors
/// What kept it from going on.
pub(crate) fn run(setup: Setup, supervisor: &impl Supervisor) -> io::Result<()> {
    let signals = SignalFd::with_flags(
        &SigSet::from(Signal::SIGWINCH),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?;
    let mut console = Console::new(setup)?;
    let ended = console.live(supervisor, &signals);
    console.leave();
    if ended? {
        supervisor.done()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
