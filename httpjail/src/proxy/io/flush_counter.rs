//! Counts the flushes of a client's connection, to know when everything written to it has gone.
//!
//! hyper takes a failing body for the end of its connection (over HTTP/2, of the stream) and throws away what it has
//! not sent by then, the answer's head included. If a server ended right after its head, the client would get a status
//! or not, by chance. So a body holds its error back until a flush has completed that began after its last byte.

use crate::sync::lock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// The flushes of one client's connection.
#[derive(Debug, Default)]
pub(crate) struct FlushCounter {
    count: AtomicU64,
    /// Whether a task waits, so that a flush without one costs no lock.
    awaited: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl FlushCounter {
    /// Returns how many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts one that has come to its end, with nothing left to be written.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) && self.awaited.swap(false, Ordering::SeqCst) {
            std::mem::take(&mut *self.waiting()).into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until there were more than `seen`.
    pub(crate) fn poll_more(&self, seen: u64, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        // Before the look at the count: a flush counts before it looks here.
        self.awaited.store(true, Ordering::SeqCst);
        match self.count() > seen {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        lock(&self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_next() {
        let flushes = FlushCounter::default();
        let cx = Context::from_waker(Waker::noop());
        flushes.add();
        assert!(flushes.poll_more(0, &cx).is_ready());
        let seen = flushes.count();
        assert!(flushes.poll_more(seen, &cx).is_pending());
        flushes.add();
        assert!(flushes.waiting().is_empty(), "woken");
        assert!(flushes.poll_more(seen, &cx).is_ready());
    }
}
