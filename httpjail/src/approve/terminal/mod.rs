//! `--interactive`: holds the caller's terminal, relays between it and the jail's own, and asks there.
//!
//! The jail has a pseudo-terminal and no way to the caller's. What it writes is passed on; while a question is on the
//! screen nothing of it is (it waits in the kernel, and then the program waits), so it can neither draw over the question
//! nor scroll it away. What is typed goes to the jail, but not while a question is there; and what is typed before somebody can
//! have seen the question is no answer. After the answer the screen is the program's again.
//!
//! One thread, one loop, in a process with the caller's rights that can neither open a socket nor start a program.

mod channel;
mod console;
mod file;
mod keys;
mod prompt;
mod relay;
mod screen;
mod setup;
mod supervisor;
mod wait;

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use console::Console;
pub(crate) use file::PolicyFile;
pub(crate) use setup::Setup;
pub(crate) use supervisor::{Supervisor, TerminalCommand};

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
