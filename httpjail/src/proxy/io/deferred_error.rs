//! Delays a failed write until the reads are done, and counts what was read.
//!
//! The count tells a request that met a stale connection from one that the server has seen
//! ([`crate::proxy::upstream::retry`]). Over HTTP/1 reads matter more than failed writes: a server that answers an
//! upload at its head and closes the connection resets it under the rest of the upload (RFC 9112 section 9.6). hyper
//! takes the write that fails then for the end of the exchange, though the answer can still be read from the socket. So
//! this adapter keeps such a write pending while the reads bring the answer, and then the connection's end.

use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// `stream`, whose failed writes wait for its reads.
pub(crate) struct DeferredWriteErrorIo<S> {
    stream: S,
    stats: Arc<ConnStats>,
    /// How long a failed write is kept back while nothing is read; nothing where it is told at once.
    patience: Option<Duration>,
    /// Whether an end that is read is one for certain: TLS tells it from a cut (RFC 8446 section 6.1).
    sealed: bool,
    /// The first failed write, and the clock of its being told.
    failed: Option<(io::ErrorKind, Pin<Box<Sleep>>)>,
}

/// What is known of a connection beside what hyper reports.
#[derive(Debug, Default)]
pub(crate) struct ConnStats {
    bytes: AtomicU64,
    cut: AtomicBool,
    unwanted: AtomicBool,
}

impl ConnStats {
    /// Returns how many bytes the server has sent so far.
    pub(crate) fn received(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether nothing can be sent any more.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Notes that no more is read: hyper stops reading then, and would wait in vain for a write that is kept back.
    pub(crate) fn give_up(&self) {
        self.unwanted.store(true, Ordering::Release);
    }
}

impl<S> DeferredWriteErrorIo<S> {
    /// Tells of a failed write at once. h2 would not read on while a write is pending.
    pub(crate) fn new(stream: S) -> DeferredWriteErrorIo<S> {
        DeferredWriteErrorIo {
            stream,
            stats: Arc::default(),
            patience: None,
            sealed: false,
            failed: None,
        }
    }

    /// Tells of a failed write when nothing was read for `patience` after it. `sealed` says that `stream` is TLS.
    pub(crate) fn to_the_end(stream: S, patience: Duration, sealed: bool) -> DeferredWriteErrorIo<S> {
        DeferredWriteErrorIo {
            patience: Some(patience),
            sealed,
            ..DeferredWriteErrorIo::new(stream)
        }
    }

    pub(crate) fn stats(&self) -> Arc<ConnStats> {
        self.stats.clone()
    }

    /// A write, if there has not been one that failed; one that fails is kept back.
    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        if self.failed.is_none() {
            let polled = write(Pin::new(&mut self.stream), cx);
            let (Poll::Ready(Err(error)), Some(patience)) = (&polled, self.patience) else {
                return polled;
            };
            // After these reads come to an end. After any other they might not.
            if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                return polled;
            }
            self.stats.cut.store(true, Ordering::Relaxed);
            self.failed = Some((error.kind(), Box::pin(tokio::time::sleep(patience))));
        }
        let Some((kind, clock)) = &mut self.failed else {
            return Poll::Pending;
        };
        if !self.stats.unwanted.load(Ordering::Acquire) {
            ready!(clock.as_mut().poll(cx));
        }
        Poll::Ready(Err((*kind).into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DeferredWriteErrorIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        this.stats.bytes.fetch_add(read as u64, Ordering::Relaxed);
        match (&mut this.failed, this.patience) {
            // Linux tells of a reset once: the write got it, and the read sees an end. It is one only where a FIN came
            // before the reset, and that is a broken pipe (net/ipv4/tcp_input.c, tcp_reset).
            (Some((kind, _)), _) if read == 0 && *kind != io::ErrorKind::BrokenPipe && !this.sealed => {
                return Poll::Ready(Err((*kind).into()));
            }
            (Some((_, clock)), Some(patience)) => *clock = Box::pin(tokio::time::sleep(patience)),
            _ => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for DeferredWriteErrorIo<S> {
    delegate_write!(stream: write through write);
    delegate_write!(stream: shutdown);

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(cx, |stream, cx| stream.poll_flush(cx))
    }
}

impl<S: Io> Io for DeferredWriteErrorIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        // After a failed write a read tells what came of it.
        if self.failed.is_some() {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(self.stream.poll_fill(cx, pipe))?;
        self.stats.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(read))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.write(cx, |mut stream, cx| stream.poll_drain(cx, pipe))
    }
}

#[cfg(test)]
mod tests;
