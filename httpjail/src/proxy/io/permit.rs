//! A socket that holds one of the permits for upstream connections.
//!
//! The permit is held for as long as the socket is open, whatever is stacked on it, because [`Limits::upstreams`]
//! counts sockets.
//!
//! [`Limits::upstreams`]: crate::proxy::limits::Limits::upstreams

use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use crate::proxy::overload::memory::Gate;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// A socket and its permit. Reads wait while there is no memory for what they bring.
pub(crate) struct PermitIo {
    pub(crate) socket: TcpStream,
    pub(crate) gate: Gate,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl AsyncRead for PermitIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for PermitIo {
    delegate_write!(socket: write);
    delegate_write!(socket: flush);
    delegate_write!(socket: shutdown);
}

impl Io for PermitIo {
    fn is_socket(&self) -> bool {
        true
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        ready!(self.gate.poll_open(cx));
        self.socket.poll_fill(cx, pipe)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.socket.poll_drain(cx, pipe)
    }
}
