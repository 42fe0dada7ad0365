//! The signals that the supervisor passes on, taken as data rather than by handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys::clone::set_action;

/// Passed to the command's process group.
const FORWARDED: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals of those that end a run which has not started yet.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The supervisor's signals, blocked and readable as a descriptor.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks them. Before any process is forked, so that none is lost and no default action strikes half-way.
    ///
    /// # Errors
    /// Those of `sigaction(2)`, `sigprocmask(2)` and `signalfd(2)`.
    pub(crate) fn block() -> io::Result<Self> {
        // Where files may not grow (`ulimit -f`) a write fails then, and that is said.
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        set_action(Signal::SIGXFSZ, &ignore)?;
        let mut set = SigSet::empty();
        FORWARDED.iter().for_each(|signal| set.add(*signal));
        set.add(Signal::SIGCONT);
        set.add(Signal::SIGCHLD);
        // Blocked so that a supervisor in the background may take its terminal back, and may write to it.
        let mut mask = set;
        mask.add(Signal::SIGTTOU);
        mask.thread_block()?;
        Ok(Signals(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )?))
    }

    /// The next signal that came, if one did.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
        let Some(came) = self.0.read_signal()? else {
            return Ok(None);
        };
        Ok(Some(Signal::try_from(came.ssi_signo as i32)?))
    }

    /// A signal that came before there was a command to give it to and that ends the run.
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

/// Whether the command gets this signal from the supervisor.
pub(crate) fn is_forwarded(signal: Signal) -> bool {
    FORWARDED.contains(&signal)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
