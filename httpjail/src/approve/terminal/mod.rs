//! Implements `--interactive`: holds the caller's terminal, relays between it and the jail's terminal, and asks there.
//!
//! The jail has a pseudo-terminal and no access to the caller's. Its output is passed on, but not while a question is on the
//! screen: then the output waits in the kernel, and when that is full the program waits. So the program can neither draw over
//! the question nor scroll it away. Input goes to the jail, but not while a question is on the screen. Keys that were typed
//! before a person can have seen the question do not answer it. After the answer the program has its screen again.
//!
//! It is one loop in one thread, in a process with the caller's rights that can neither open a socket nor start a program.

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
pub(crate) use file::{Contents, PolicyFile};
pub(crate) use relay::Relay;
pub(crate) use setup::Setup;
pub(crate) use supervisor::{Supervisor, TerminalCommand};

/// Relays and asks until the supervisor says to finish, or has ended. Then restores the terminal. Every signal must be blocked.
///
/// # Errors
/// Fails when the terminal or the supervisor cannot be read.
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
