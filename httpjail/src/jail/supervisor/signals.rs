//! The signals that the supervisor forwards, read from a descriptor instead of by handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys::clone::set_action;
use crate::sys::terminal::FORWARDED_SIGNALS;

/// The signals that end a run which has not started yet.
pub(crate) const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The supervisor's signals, blocked and readable as a descriptor.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks them. Call it before any fork, so that no signal is lost and no default action ends a half-made jail.
    ///
    /// # Errors
    /// Those of `sigaction(2)`, `sigprocmask(2)` and `signalfd(2)`.
    pub(crate) fn block() -> io::Result<Self> {
        // Where files may not grow (`ulimit -f`) a write then fails with an error that is reported.
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        set_action(Signal::SIGXFSZ, &ignore)?;
        let mut set = SigSet::empty();
        FORWARDED_SIGNALS.iter().for_each(|signal| set.add(*signal));
        set.add(Signal::SIGCONT);
        set.add(Signal::SIGCHLD);
        // Blocked, so that a supervisor in the background can take its terminal back and write to it.
        let mut mask = set;
        mask.add(Signal::SIGTTOU);
        mask.thread_block()?;
        Ok(Signals(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )?))
    }

    /// Returns the next signal that arrived, if there is one.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
        let Some(came) = self.0.read_signal()? else {
            return Ok(None);
        };
        Ok(Some(Signal::try_from(came.ssi_signo as i32)?))
    }

    /// Returns a signal that arrived before the command was started and ends the run.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub(crate) fn ending(&self) -> io::Result<Option<Signal>> {
        while let Some(signal) = self.next()? {
            if ENDING.contains(&signal) {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }
}

/// Returns true if the supervisor forwards this signal to the command.
pub(crate) fn is_forwarded(signal: Signal) -> bool {
    FORWARDED_SIGNALS.contains(&signal)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
