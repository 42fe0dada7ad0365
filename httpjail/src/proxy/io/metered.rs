//! Counts the bytes of a tunnel at its client's end, so that the log has the numbers also of a tunnel that is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{InspectReader, InspectWriter};

/// What has moved so far.
#[derive(Debug, Default)]
pub(crate) struct ByteCounts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl ByteCounts {
    /// Counts what goes upstream.
    pub(crate) fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts what goes to the client.
    pub(crate) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Returns `stream`, whose traffic `byte_counts` counts: what is read from it goes upstream, what is written to it to
/// the client.
pub(crate) fn metered<S>(stream: S, byte_counts: &Arc<ByteCounts>) -> impl AsyncRead + AsyncWrite + Unpin
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sent, received) = (byte_counts.clone(), byte_counts.clone());
    let stream = InspectWriter::new(stream, move |bytes: &[u8]| received.receive(bytes.len()));
    InspectReader::new(stream, move |bytes: &[u8]| sent.send(bytes.len()))
}
