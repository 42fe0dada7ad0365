//! Keeps an upstream connection in use for as long as an answer is read from it.

use crate::proxy::io::deferred_error::ConnStats;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The streams of an HTTP/2 connection.
#[derive(Default)]
pub(crate) struct StreamCount {
    streams: AtomicUsize,
    retired: AtomicBool,
}

impl StreamCount {
    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// What one answer holds of its connection.
pub(crate) enum StreamPermit {
    /// A stream of an HTTP/2 connection.
    Stream(Arc<StreamCount>),
    /// A whole HTTP/1 connection.
    Whole(Arc<ConnStats>),
}

impl StreamPermit {
    /// Takes one more stream of an HTTP/2 connection.
    pub(crate) fn stream(count: &Arc<StreamCount>) -> StreamPermit {
        count.streams.fetch_add(1, Ordering::Relaxed);
        StreamPermit::Stream(count.clone())
    }

    /// Notes that its answer was broken off. A connection of HTTP/1 that cannot be written to ends. One of HTTP/2 gets
    /// no further requests: frames of the answer still come for a while, and h2 counts small ones as unread for ever;
    /// after so many it ends the connection (`too_many_data_frames`), with whatever else is on it.
    pub(crate) fn retire(&self) {
        match self {
            StreamPermit::Stream(count) => count.retired.store(true, Ordering::Relaxed),
            StreamPermit::Whole(stats) => stats.give_up(),
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let StreamPermit::Stream(count) = self {
            count.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
