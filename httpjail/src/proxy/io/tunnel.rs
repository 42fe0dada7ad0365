//! Relays the bytes of a tunnel in both directions, until both have ended.
//!
//! Bytes are copied at first. Once a direction brings much at a time, and both ends are sockets, the kernel moves its
//! bytes by way of a pipe. A direction that brings little goes back to copies, which cost less there.

use crate::proxy::io::boxed::Io;
use crate::proxy::io::byte_counts::ByteCounts;
use crate::proxy::io::pipes::{Pipe, Pipes};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// What is copied at a time at most.
const COPY_MAX: usize = 8 * 1024;

/// So many bytes come in full buffers before a pipe is borrowed.
const MUCH: usize = 64 * 1024;

/// After so many bytes other tasks have their turn. A task's budget in tokio counts calls, and a call moves much here.
const TURN: usize = 1 << 20;

/// Relays until both sides have sent all they have, or until something fails. What is read from `client` and what is
/// written to it is counted. Sockets use `pipes`, if there are any.
pub(crate) async fn relay(
    client: &mut impl Io,
    upstream: &mut impl Io,
    byte_counts: &ByteCounts,
    pipes: Option<&Arc<Pipes>>,
) -> io::Result<()> {
    let pipes = pipes.filter(|_| client.is_socket() && upstream.is_socket());
    let (mut there, mut back) = (Direction::new(pipes), Direction::new(pipes));
    poll_fn(|cx| {
        let there = there.poll(cx, client, upstream, |read| byte_counts.send(read), |_| {})?;
        let back = back.poll(cx, upstream, client, |_| {}, |written| byte_counts.receive(written))?;
        match (there, back) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await
}

/// What was read in one direction and is not written yet: `begin..end` of the buffer, or what is in the pipe.
struct Direction {
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
    pipe: Option<Pipe>,
    pipes: Option<Arc<Pipes>>,
    /// Grows with each read that brings a buffer or more, and shrinks with each that brings less.
    bulk: usize,
    unflushed: bool,
    /// Whether the reader has sent all, and whether the writer knows.
    ended: bool,
    shut: bool,
}

impl Direction {
    fn new(pipes: Option<&Arc<Pipes>>) -> Direction {
        Direction {
            buffer: vec![0; COPY_MAX].into(),
            begin: 0,
            end: 0,
            pipe: None,
            pipes: pipes.cloned(),
            bulk: 0,
            unflushed: false,
            ended: false,
            shut: false,
        }
    }

    /// Relays until `writer` has all that `reader` sends, and is shut down.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut impl Io,
        writer: &mut impl Io,
        read: impl Fn(usize),
        written: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        let mut moved = 0;
        while !self.shut {
            if moved >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_read(cx, reader)? {
                Poll::Ready(count) => read(count),
                Poll::Pending if self.begin < self.end => {}
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
            while self.pipe.is_some() || self.begin < self.end {
                let count = ready!(self.poll_write(cx, writer))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                written(count);
                moved += count;
                self.unflushed = true;
            }
            if self.ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.shut = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads, if there is room, and returns how much came.
    fn poll_read(&mut self, cx: &mut Context<'_>, reader: &mut impl Io) -> Poll<io::Result<usize>> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
        if self.ended || self.pipe.is_some() || self.end == self.buffer.len() {
            return Poll::Ready(Ok(0));
        }
        if self.end == 0
            && self.bulk >= MUCH
            && let Some(mut pipe) = self.pipes.as_ref().and_then(Pipes::borrow)
        {
            let count = ready!(reader.poll_fill(cx, &mut pipe))?;
            if count > 0 {
                self.note(count);
                self.pipe = Some(pipe);
                return Poll::Ready(Ok(count));
            }
        }
        let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(Pin::new(reader).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.note(count);
        self.end += count;
        self.ended = count == 0;
        Poll::Ready(Ok(count))
    }

    fn note(&mut self, count: usize) {
        self.bulk = match count {
            COPY_MAX.. => (self.bulk + count).min(2 * MUCH),
            _ => self.bulk.saturating_sub(COPY_MAX),
        };
    }

    /// Writes some of what was read, and returns how much.
    fn poll_write(&mut self, cx: &mut Context<'_>, writer: &mut impl Io) -> Poll<io::Result<usize>> {
        let Some(pipe) = &mut self.pipe else {
            let count = ready!(Pin::new(writer).poll_write(cx, &self.buffer[self.begin..self.end]))?;
            self.begin += count;
            return Poll::Ready(Ok(count));
        };
        let count = ready!(writer.poll_drain(cx, pipe))?;
        if pipe.is_empty() {
            self.pipe = None;
        }
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests;
