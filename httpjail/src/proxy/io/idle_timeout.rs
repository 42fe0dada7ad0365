//! Ends a client's connection on which nothing moves for too long.
//!
//! A client can make the proxy wait in many ways: a window of zero, a body that stops, an answer that it does not read, a
//! WebSocket that stays silent. All of them look the same here: no byte moves in either direction. The adapter also tells
//! [`crate::proxy::overload::clients`] when something moves and how much the client takes, and reads nothing while
//! there is no memory for it.

use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use crate::proxy::overload::clients::Registration;
use crate::proxy::overload::memory::Gate;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// `stream`, on which something has to move.
pub(crate) struct IdleTimeoutIo<S> {
    stream: S,
    registration: Arc<Registration>,
    gate: Gate,
    limit: Duration,
    clock: Pin<Box<Sleep>>,
    /// Whether anything moved since the clock was last wound up.
    moved: bool,
}

impl<S> IdleTimeoutIo<S> {
    pub(crate) fn new(stream: S, limit: Duration, registration: Arc<Registration>, gate: Gate) -> IdleTimeoutIo<S> {
        IdleTimeoutIo {
            stream,
            registration,
            gate,
            limit,
            clock: Box::pin(tokio::time::sleep(limit)),
            moved: false,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Returns what became of a read or a write, or an error if nothing has moved for one to two times the limit.
    fn check<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.moved = true;
            self.registration.moves();
            return tried;
        }
        loop {
            ready!(self.clock.as_mut().poll(cx));
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.clock.as_mut().reset(Instant::now() + self.limit);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleTimeoutIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tried = match self.gate.poll_open(cx) {
            Poll::Ready(()) => Pin::new(&mut self.stream).poll_read(cx, buf),
            Poll::Pending => Poll::Pending,
        };
        self.check(cx, tried)
    }
}

impl<S: Unpin> IdleTimeoutIo<S> {
    fn in_time(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let tried = poll(Pin::new(&mut self.stream), cx);
        if let Poll::Ready(Ok(written)) = tried {
            self.registration.takes(written);
        }
        self.check(cx, tried)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleTimeoutIo<S> {
    delegate_write!(stream: write through in_time);
    delegate_write!(stream: flush);
    delegate_write!(stream: shutdown);
}

impl<S: Io> Io for IdleTimeoutIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let tried = match self.gate.poll_open(cx) {
            Poll::Ready(()) => self.stream.poll_fill(cx, pipe),
            Poll::Pending => Poll::Pending,
        };
        match tried {
            // Nothing has moved.
            Poll::Ready(Ok(0)) => tried,
            _ => self.check(cx, tried),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.in_time(cx, |mut stream, cx| stream.poll_drain(cx, pipe))
    }
}

#[cfg(test)]
mod tests;
