//! Keeps an HTTP/2 connection in use for as long as an answer is read from it.

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

/// One stream of an HTTP/2 connection.
pub(crate) struct StreamPermit(Arc<StreamCount>);

impl StreamPermit {
    /// Takes one more stream.
    pub(crate) fn new(count: &Arc<StreamCount>) -> StreamPermit {
        count.streams.fetch_add(1, Ordering::Relaxed);
        StreamPermit(count.clone())
    }

    /// Lets the connection get no further requests.
    pub(crate) fn retire(&self) {
        self.0.retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
