//! Writes informational answers (1xx) between the answers that hyper writes.
//!
//! hyper's server cannot write what an upstream sends before its answer. A 1xx may be written only after hyper has
//! written all of the previous answer: [`InformationalQueue`] accepts none while there is no request, and a flush shows
//! that hyper has nothing left to write.
//!
//! [`InformationalQueue`]: crate::proxy::http1::informational::InformationalQueue

use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::flush_counter::FlushCounter;
use crate::proxy::io::pipes::Pipe;
use crate::proxy::io::stall_timeout::StallTimeoutIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `stream`, with informational answers written where they belong.
pub(crate) struct InformationalIo<S> {
    stream: StallTimeoutIo<S>,
    exchange: Arc<ExchangeState>,
    flushes: Arc<FlushCounter>,
    /// Whether hyper has nothing left to write.
    flushed: bool,
    /// Whether what is written is not HTTP any more.
    tunnel: bool,
    /// A head on its way out, and how much of it has gone.
    head: Vec<u8>,
    gone: usize,
}

impl<S> InformationalIo<S> {
    pub(crate) fn new(
        stream: StallTimeoutIo<S>,
        exchange: Arc<ExchangeState>,
        flushes: Arc<FlushCounter>,
    ) -> InformationalIo<S> {
        InformationalIo {
            stream,
            exchange,
            flushes,
            flushed: true,
            tunnel: false,
            head: Vec::new(),
            gone: 0,
        }
    }

    /// Returns whether nothing waits to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.flushed && !self.stream.is_stalled()
    }

    /// From now on nothing is written but what hyper writes, and that may take its time.
    pub(crate) fn become_tunnel(&mut self) {
        self.tunnel = true;
        self.stream.disarm();
    }
}

impl<S: AsyncWrite + Unpin> InformationalIo<S> {
    /// Writes what comes before hyper's next bytes.
    fn poll_heads(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.gone < self.head.len() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.head[self.gone..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.gone += written,
                }
            }
            (self.head, self.gone) = (Vec::new(), 0);
            match self.exchange.informational.take(cx) {
                Some(next) if self.flushed => self.head = next,
                Some(_) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn after_heads(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut StallTimeoutIo<S>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if !self.tunnel {
            ready!(self.poll_heads(cx))?;
            self.flushed = false;
        }
        write(Pin::new(&mut self.stream), cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InformationalIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InformationalIo<S> {
    delegate_write!(stream: write through after_heads);
    delegate_write!(stream: shutdown);

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.tunnel {
            return Pin::new(&mut this.stream).poll_flush(cx);
        }
        // hyper comes here only when it has written all that it had.
        this.flushed = true;
        ready!(this.poll_heads(cx))?;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.flushes.add();
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> Io for InformationalIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.poll_fill(cx, pipe)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.after_heads(cx, |mut stream, cx| stream.poll_drain(cx, pipe))
    }
}
