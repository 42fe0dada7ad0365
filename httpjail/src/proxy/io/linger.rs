//! Reads on for a moment after the stream was shut down.
//!
//! A socket that is closed with unread bytes in it sends a reset, and a reset makes the other side throw away the
//! answer that it has not read yet (RFC 9112 section 9.6). A closing connection therefore reads on for a moment, so
//! that a client in the middle of an upload can read why it was refused.

use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long and how much a closing stream reads on.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// `stream`, which lingers when it is shut down.
pub(crate) struct LingerIo<S> {
    stream: S,
    lingering: Option<Lingering>,
}

struct Lingering {
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl<S> LingerIo<S> {
    pub(crate) fn new(stream: S) -> LingerIo<S> {
        LingerIo {
            stream,
            lingering: None,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingerIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingerIo<S> {
    delegate_write!(stream: write);
    delegate_write!(stream: flush);

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let lingering = this.lingering.get_or_insert_with(|| Lingering {
            left: LINGER_BYTES,
            until: Box::pin(tokio::time::sleep(LINGER_TIME)),
        });
        let mut scratch = [0; 4096];
        while lingering.left > 0 && lingering.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            // An error from here on ends a stream that is over anyway.
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    lingering.left = lingering.left.saturating_sub(buf.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> Io for LingerIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.poll_fill(cx, pipe)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.poll_drain(cx, pipe)
    }
}
