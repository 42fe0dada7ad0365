//! Ends a stream whose other side accepts no bytes for too long.

use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// `stream`, whose writes and flushes time out.
pub(crate) struct StallTimeoutIo<S> {
    stream: S,
    limit: Option<Duration>,
    /// Runs while a write or a flush waits.
    clock: Option<Pin<Box<Sleep>>>,
}

impl<S> StallTimeoutIo<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> StallTimeoutIo<S> {
        StallTimeoutIo {
            stream,
            limit: Some(limit),
            clock: None,
        }
    }

    /// Returns whether a write or a flush waits for the other side.
    pub(crate) fn is_stalled(&self) -> bool {
        self.clock.is_some()
    }

    /// Lets writes wait for as long as they may from now on.
    pub(crate) fn disarm(&mut self) {
        (self.limit, self.clock) = (None, None);
    }
}

impl<S: Unpin> StallTimeoutIo<S> {
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = poll(Pin::new(&mut self.stream), cx);
        let Some(limit) = self.limit else { return polled };
        if polled.is_ready() {
            self.clock = None;
            return polled;
        }
        let clock = self.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(clock.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallTimeoutIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallTimeoutIo<S> {
    delegate_write!(stream: write through in_time);
    delegate_write!(stream: shutdown);

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().in_time(cx, |stream, cx| stream.poll_flush(cx))
    }
}

impl<S: Io> Io for StallTimeoutIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.poll_fill(cx, pipe)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.in_time(cx, |mut stream, cx| stream.poll_drain(cx, pipe))
    }
}
