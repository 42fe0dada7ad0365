//! A connection whose type does not matter.

use crate::proxy::io::pipes::Pipe;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// What bytes can be read from and written to. The kernel can also move the bytes of a socket with adapters on it, by
/// way of a pipe.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// Returns whether [`Io::poll_fill`] and [`Io::poll_drain`] move bytes.
    fn is_socket(&self) -> bool {
        false
    }

    /// Moves what has arrived into `pipe`, which is empty, and returns how much that is. 0 says nothing: a read tells
    /// whether this is the end, or there is nothing yet, or something that moves by reads alone.
    fn poll_fill(&mut self, _cx: &mut Context<'_>, _pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    /// Sends what `pipe` holds, or a part of it, and returns how much.
    fn poll_drain(&mut self, _cx: &mut Context<'_>, _pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// An open connection, whatever lies below it.
pub(crate) type BoxedIo = Box<dyn Io>;

impl Io for BoxedIo {
    fn is_socket(&self) -> bool {
        (**self).is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        (**self).poll_fill(cx, pipe)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        (**self).poll_drain(cx, pipe)
    }
}

impl Io for TcpStream {
    fn is_socket(&self) -> bool {
        true
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        pipe.poll_fill(cx, self)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        pipe.poll_drain(cx, self)
    }
}

impl Io for client::TlsStream<BoxedIo> {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for server::TlsStream<S> {}

impl Io for TokioIo<Upgraded> {}
