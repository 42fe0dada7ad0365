//! Who took the jail from a pool: gets the word of its command's life, and stands in for the terminal's and the shell's signals.
//!
//! The client is a process of the caller's, and believed in nothing but what to send to its own command.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;

use super::signals::is_forwarded;
use crate::backend::Outcome;
use crate::failure::Failure;
use crate::jail::protocol::pool::{ClientLine, SpareEnd, ToClient, ToJail};

/// What a client has given for its command.
#[derive(Debug)]
pub(crate) struct Given {
    /// The words, as init reads them.
    pub(crate) words: OwnedFd,
    /// Standard input, output and error.
    pub(crate) standard: [OwnedFd; 3],
    pub(crate) pipes: Vec<OwnedFd>,
}

impl Given {
    /// All of it, in the order in which init takes it.
    pub(crate) fn raw(&self) -> Vec<RawFd> {
        let all = std::iter::once(&self.words).chain(&self.standard).chain(&self.pipes);
        all.map(AsRawFd::as_raw_fd).collect()
    }
}

/// The supervisor's view of a client.
#[derive(Debug)]
pub(crate) struct Client {
    line: ClientLine,
    /// The jail ends with the pool.
    pool: SpareEnd,
    /// The command has a terminal of the jail's, whose outer end the client has.
    terminal: bool,
}

impl Client {
    /// The client at the other end of `line`.
    pub(crate) fn new(line: ClientLine, pool: SpareEnd, terminal: bool) -> Client {
        Client { line, pool, terminal }
    }

    /// Whether the command has a terminal of the jail's.
    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// What to wait for.
    pub(super) fn polled(&self) -> [PollFd<'_>; 2] {
        [self.line.as_fd(), self.pool.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN))
    }

    /// Returns the signal that the client passes on, if it does.
    ///
    /// # Errors
    /// Why the run is to end: the client or the pool is gone.
    pub(super) fn hear(&self, [client, pool]: [bool; 2]) -> Result<Option<Signal>, String> {
        // The pool says nothing more to a jail that is taken.
        if pool {
            return Err("the pool ended".to_owned());
        }
        if !client {
            return Ok(None);
        }
        let Ok(ToJail::Signal(number)) = self.line.receive() else {
            return Err("the client is gone".to_owned());
        };
        let signal = Signal::try_from(number).ok();
        Ok(signal.filter(|signal| *signal == Signal::SIGCONT || is_forwarded(*signal)))
    }

    /// Says that the command runs. A client that is gone is noticed when it is heard next.
    pub(crate) fn tell_start(&self, terminal: Option<OwnedFd>) {
        let descriptors: Vec<_> = terminal.iter().map(AsRawFd::as_raw_fd).collect();
        let _ = self.line.send_with(&ToClient::Started, &descriptors);
    }

    /// Says that the command was stopped.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) fn tell_stop(&self, signal: i32) -> io::Result<()> {
        self.line.send(&ToClient::Stopped(signal))
    }

    /// Says how it ended, when nothing of it runs any more.
    pub(super) fn tell_end(&self, end: Result<Outcome, &str>) {
        let end = match end {
            Ok(outcome) => ToClient::Ended(outcome),
            Err(message) => ToClient::Failed(Failure::new(format!("{message}; the jail was ended"))),
        };
        // It may be the client that has ended.
        let _ = self.line.send(&end);
    }
}
