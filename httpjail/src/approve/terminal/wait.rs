//! Waits until one of several files is ready, or until a deadline.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What can end a wait of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Supervisor,
    Signals,
    RequestChannel,
    Outer,
    Inner,
}

/// The sources of one wait, each with its file.
#[derive(Default)]
pub(super) struct Sources<'a> {
    names: Vec<Source>,
    polled: Vec<PollFd<'a>>,
}

impl<'a> Sources<'a> {
    pub(super) fn add(&mut self, source: Source, (file, wanted): (BorrowedFd<'a>, PollFlags)) {
        self.names.push(source);
        self.polled.push(PollFd::new(file, wanted));
    }

    /// Returns the sources that are ready: none at the deadline or after a signal.
    pub(super) fn wait(mut self, deadline: Option<Instant>) -> io::Result<Vec<Source>> {
        let now = Instant::now();
        // Rounded up, or the loop would spin through the last millisecond.
        let left = deadline.map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
        let limit = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut self.polled, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = self.polled.iter().map(|polled| polled.any().unwrap_or(true));
        Ok(self
            .names
            .into_iter()
            .zip(ready)
            .filter_map(|(source, ready)| ready.then_some(source))
            .collect())
    }
}
