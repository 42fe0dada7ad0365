//! A stream that outlives whoever reads and writes it.
//!
//! hyper takes the stream of a connection and does not give it back. What is shared with it can be given to a second one.
//! What it is given has one type for all streams, so that it can be told apart when hyper hands it on
//! ([`crate::proxy::io::upgraded`]).

use crate::proxy::io::boxed::Io;
use crate::proxy::io::pipes::Pipe;
use crate::sync::lock;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that one at a time uses.
pub(crate) struct SharedIo<S: ?Sized>(Arc<Mutex<S>>);

impl<S> SharedIo<S> {
    pub(crate) fn new(stream: S) -> SharedIo<S> {
        SharedIo(Arc::new(Mutex::new(stream)))
    }

    /// Returns another handle for the same stream.
    pub(crate) fn again(&self) -> SharedIo<dyn Io>
    where
        S: Io + 'static,
    {
        SharedIo(self.0.clone())
    }
}

impl<S: ?Sized> SharedIo<S> {
    /// Does something to the stream itself.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut S) -> T) -> T {
        work(&mut lock(&self.0))
    }
}

impl<S: AsyncRead + Unpin + ?Sized> AsyncRead for SharedIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin + ?Sized> AsyncWrite for SharedIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.with(|stream| stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_shutdown(cx))
    }
}

impl<S: Io + ?Sized> Io for SharedIo<S> {
    fn is_socket(&self) -> bool {
        self.with(|stream| stream.is_socket())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_fill(cx, pipe))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_drain(cx, pipe))
    }
}
