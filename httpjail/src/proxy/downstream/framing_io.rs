//! The stream below hyper's HTTP/1 server. It passes on only the bytes that [`Framing`] accepts.

use crate::proxy::downstream::head_clock::HeadClock;
use crate::proxy::downstream::informational_io::InformationalIo;
use crate::proxy::http1::exchange::{ExchangeState, Switch};
use crate::proxy::http1::framing::fault::Fault;
use crate::proxy::http1::framing::{Framing, Stop};
use crate::proxy::http1::unparsed::{DefaultOrigin, UnparsedRequest};
use crate::proxy::io::boxed::Io;
use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::pipes::Pipe;
use crate::proxy::io::stall_timeout::StallTimeoutIo;
use crate::proxy::service::client::Client;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The method of a head that stands for a refused one. [`Framing`] lets no lower-case method pass.
pub(crate) const REFUSED: &str = "refused";
const REFUSED_HEAD: &[u8] = b"refused / HTTP/1.1\r\nConnection: close\r\n\r\n";

/// The most fields of a head that hyper reads into a table on the stack. For more it fills one on the heap, for every head
/// of the connection.
pub(crate) const USUAL_FIELDS: usize = 100;

/// How many bytes may wait for the answer to a request for another protocol.
const WAITING_MAX: usize = 64 * 1024;

/// The stream that hyper reads and writes.
pub(crate) struct FramingIo<S> {
    stream: InformationalIo<S>,
    default_origin: DefaultOrigin,
    framing: Framing,
    exchange: Arc<ExchangeState>,
    /// Read from the stream: what was given to hyper, what passed, what did not pass yet.
    held: Vec<u8>,
    given: usize,
    passed: usize,
    /// What comes after the bytes that passed.
    then: Then,
    /// Whether the client sends no more, and the clock that runs then.
    ended: bool,
    leaving: Option<Pin<Box<Sleep>>>,
    half_closed: Duration,
    /// Runs while the proxy waits for a head.
    head: HeadClock,
}

#[derive(Clone, Copy)]
enum Then {
    /// More requests.
    Requests,
    /// A fault that hyper has not seen yet.
    Fault(Fault),
    /// Bytes that are not HTTP.
    Tunnel,
    /// A head with more fields than are usual, for which hyper is to begin anew.
    Many(Many),
    /// Nothing: the connection is being closed.
    Nothing,
}

/// How far it is with a head that has many fields.
#[derive(Clone, Copy, PartialEq)]
enum Many {
    /// What came before it may be left to answer or to write.
    Held,
    /// hyper has been woken since that was done.
    Woken,
    /// hyper has been told that nothing more comes.
    Told,
}

impl<S> FramingIo<S> {
    pub(crate) fn new(
        stream: S,
        default_origin: DefaultOrigin,
        exchange: Arc<ExchangeState>,
        client: &Client,
    ) -> FramingIo<S> {
        let (limits, began) = (&client.context.config.limits, client.began());
        let stream = StallTimeoutIo::new(stream, limits.stall);
        FramingIo {
            stream: InformationalIo::new(stream, exchange.clone(), client.flushes.clone()),
            default_origin,
            framing: Framing::within(limits).pausing_above(USUAL_FIELDS),
            exchange,
            held: Vec::new(),
            given: 0,
            passed: 0,
            then: Then::Requests,
            ended: false,
            leaving: None,
            half_closed: limits.half_closed,
            head: HeadClock::new(limits, began),
        }
    }

    /// Returns whether hyper ended because the next head has many fields. From now on it reads on.
    pub(crate) fn goes_on(&mut self) -> bool {
        let goes_on = matches!(self.then, Then::Many(Many::Told));
        if goes_on {
            self.then = Then::Requests;
            self.follow();
        }
        goes_on
    }

    /// Gives the bytes that passed, and returns whether there were any.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.held[self.given..self.passed];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.given += count;
        if self.given == self.passed {
            self.held.drain(..self.passed);
            (self.given, self.passed) = (0, 0);
        }
        count > 0
    }

    /// Follows the bytes that are held and have not passed.
    fn follow(&mut self) {
        let (more, stop) = self.framing.follow(&mut self.held[self.passed..]);
        self.passed += more;
        self.handle(stop);
    }

    /// Handles what comes after the bytes that have passed.
    fn handle(&mut self, mut stop: Option<Stop>) {
        while let Some(Stop::Spelling(spelling)) = stop {
            spelling.change(&mut self.held, self.passed);
            let (more, next) = self.framing.follow(&mut self.held[self.passed..]);
            self.passed += more;
            stop = next;
        }
        match stop {
            Some(Stop::Fault(fault)) => self.then = Then::Fault(fault),
            Some(Stop::Pause) => self.then = Then::Many(Many::Held),
            Some(Stop::Spelling(_)) | None => {}
        }
    }

    /// Gives hyper what it reads in place of a fault.
    fn fault(&mut self, fault: Fault, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        // All that passed is given: it begins with the head.
        let held = std::mem::take(&mut self.held);
        (self.given, self.passed) = (0, 0);
        if self.framing.is_in_body() {
            self.exchange.break_body(fault);
            self.then = Then::Nothing;
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault.reason()));
        }
        self.exchange
            .refuse_head(fault, UnparsedRequest::of(&held, &self.default_origin));
        self.then = Then::Nothing;
        self.held = REFUSED_HEAD.to_vec();
        self.passed = self.held.len();
        self.give(buf);
        Ok(())
    }

    /// Ends the client's bytes, after all that passed.
    fn poll_end(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.framing.is_in_body() {
            return Poll::Ready(self.fault(Fault::CutShort, buf));
        }
        // The client may still want its answer; it may also be gone.
        if self.exchange.is_in_flight() {
            let limit = self.half_closed;
            let leaving = self.leaving.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(leaving.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Ends hyper's connection before a head with many fields, once nothing before it is left to answer or to write.
    fn poll_many(&mut self) -> Poll<io::Result<()>> {
        if self.exchange.is_in_flight() || !self.stream.is_idle() {
            return Poll::Pending;
        }
        self.then = Then::Many(Many::Told);
        Poll::Ready(Ok(()))
    }

    /// Notes whether a head has begun that is not whole, after so many bytes passed.
    fn note(&mut self, passed: usize) {
        let within = self.held.len() > self.passed && !self.framing.is_in_body();
        self.exchange.set_in_head(within);
        self.head.wind(within, passed > 0);
    }

    /// Ends a connection whose next head takes too long.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let for_a_head =
            matches!(self.then, Then::Requests) && !self.framing.is_in_body() && !self.framing.is_waiting();
        let between = !self.exchange.is_in_flight() && self.stream.is_idle();
        if !for_a_head || !between {
            self.head.stop();
            return Poll::Pending;
        }
        let late = ready!(self.head.poll(cx));
        self.exchange.set_late(late);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Goes on after a request for another protocol, if it was answered.
    fn resume(&mut self) -> bool {
        match self.exchange.take_decision() {
            Some(Switch::Tunnel) => {
                self.then = Then::Tunnel;
                self.stream.become_tunnel();
                self.passed = self.held.len();
            }
            Some(Switch::Ordinary) => {
                self.framing.go_on();
                self.follow();
            }
            None => return false,
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramingIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.given < this.passed && this.give(buf) {
                return Poll::Ready(Ok(()));
            }
            let then = this.then;
            match then {
                Then::Requests if this.framing.is_waiting() && this.resume() => continue,
                Then::Requests if this.ended => return this.poll_end(cx, buf),
                // The answer to the request for another protocol wakes this task.
                Then::Requests if this.framing.is_waiting() && this.held.len() > WAITING_MAX => return Poll::Pending,
                Then::Requests => {}
                Then::Fault(fault) => return Poll::Ready(this.fault(fault, buf)),
                Then::Many(_) => return this.poll_many(),
                Then::Tunnel => return Pin::new(&mut this.stream).poll_read(cx, buf),
                Then::Nothing => return Poll::Pending,
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => return this.poll_waiting(cx),
            }
            let new = &mut buf.filled_mut()[before..];
            if new.is_empty() {
                this.ended = true;
                continue;
            }
            if this.held.is_empty() {
                let (passed, stop) = this.framing.follow(new);
                this.held.extend_from_slice(&new[passed..]);
                buf.set_filled(before + passed);
                this.handle(stop);
                this.note(passed + this.passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.extend_from_slice(new);
                buf.set_filled(before);
                this.follow();
                let passed = this.passed;
                this.note(passed);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FramingIo<S> {
    delegate_write!(stream: write);

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        if matches!(this.then, Then::Many(Many::Held)) && !this.exchange.is_in_flight() {
            this.then = Then::Many(Many::Woken);
            // It may have been the last that was left to write, and hyper does not read on by itself.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.then {
            // The connection goes on.
            Then::Many(Many::Told) => Poll::Ready(Ok(())),
            _ => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }
}

impl<S: Io> Io for FramingIo<S> {
    fn is_socket(&self) -> bool {
        self.stream.is_socket()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        match self.then {
            Then::Tunnel if self.given == self.passed => self.stream.poll_fill(cx, pipe),
            _ => Poll::Ready(Ok(0)),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.stream.poll_drain(cx, pipe)
    }
}
