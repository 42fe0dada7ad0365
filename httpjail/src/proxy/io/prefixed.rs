//! Gives bytes again that were read from a stream before, then the rest of the stream.

use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `stream`, preceded by bytes that were read from it before.
pub(crate) struct PrefixedIo<S> {
    stream: S,
    prefix: Vec<u8>,
    given: usize,
}

impl<S> PrefixedIo<S> {
    pub(crate) fn new(prefix: Vec<u8>, stream: S) -> Self {
        PrefixedIo {
            stream,
            prefix,
            given: 0,
        }
    }

    /// Puts bytes back that were read from it, all of those before them included: they are read again.
    pub(crate) fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(&self.prefix[self.given..]);
        (self.prefix, self.given) = (bytes, 0);
    }

    /// Returns the stream itself; bytes that were not read again are lost.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefixedIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.given < this.prefix.len() {
            let rest = &this.prefix[this.given..];
            let count = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..count]);
            this.given += count;
            if this.given == this.prefix.len() {
                this.prefix = Vec::new();
                this.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefixedIo<S> {
    delegate_write!(stream: write);
    delegate_write!(stream: flush);
    delegate_write!(stream: shutdown);
}

impl<S: Io> Io for PrefixedIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        match self.given < self.prefix.len() {
            true => Poll::Ready(Ok(0)),
            false => self.stream.poll_fill(cx, pipe),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.poll_drain(cx, pipe)
    }
}
