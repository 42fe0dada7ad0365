//! What stands between a client's connection and hyper's HTTP/1 server: hyper reads only what [`Framing`] lets pass.
//!
//! [`Strict`] is the stream below hyper, [`Strictly`] the service above it, [`Aside`] what the two tell each other past
//! hyper. A head with a fault never reaches hyper: it reads a head of our own instead, with a method that no client can
//! send, and the service answers that with the refusal, so that answers keep their order. A fault in a body breaks the
//! body off. Both end the connection. The common case costs one look at each head and a count of each body; nothing is
//! copied that arrives whole.

use crate::proxy::downstream::silence::{HeadClock, Late};
use crate::proxy::http1::framing::{Fault, Framing, Stop};
use crate::proxy::http1::informational::Interims;
use crate::proxy::http1::unparsed::{Asked, Way};
use crate::proxy::io::flush_counter::Flushes;
use crate::proxy::refusal::Refusal;
use crate::proxy::service::client::Client;
use crate::proxy::service::response_body::Download;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Stands for a head that is refused. [`Framing`] lets no lower-case method pass.
const REFUSED: &str = "refused";
const REFUSED_HEAD: &[u8] = b"refused / HTTP/1.1\r\nConnection: close\r\n\r\n";

/// What may wait for the answer to a wish for another protocol.
const WAITING_MAX: usize = 64 * 1024;

/// What stream and service of one connection tell each other.
#[derive(Default)]
pub(crate) struct Aside {
    head_fault: OnceLock<(Fault, Asked)>,
    body_fault: OnceLock<Fault>,
    /// What became of a wish: [`UNDECIDED`], [`ORDINARY`] or [`TUNNEL`].
    wish: AtomicU8,
    /// Whether a request is being answered.
    busy: AtomicBool,
    /// Whether a head has begun that is not whole yet, and why it was waited for no longer.
    within: AtomicBool,
    late: OnceLock<Late>,
    /// What the upstream says before its answer.
    pub(crate) interims: Interims,
}

const UNDECIDED: u8 = 0;
const ORDINARY: u8 = 1;
const TUNNEL: u8 = 2;

impl Aside {
    /// Why the body of the request that is being answered breaks off, if it is by our will.
    pub(crate) fn body_fault(&self) -> Option<Fault> {
        self.body_fault.get().copied()
    }

    /// Where the connection ended, in case no request tells.
    pub(crate) fn ended(&self) -> Ended {
        match (self.within.load(Ordering::Relaxed), self.late.get()) {
            (true, Some(late)) => Ended::Late(*late),
            (true, None) => Ended::Within,
            (false, _) => Ended::Between,
        }
    }
}

/// Where a connection ended.
pub(crate) enum Ended {
    /// Where a request may begin.
    Between,
    /// In the middle of a head.
    Within,
    /// In the middle of one that took too long.
    Late(Late),
}

/// As long as it lives a request is being answered.
pub(crate) struct Busy(Arc<Aside>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// A service whose requests come through a [`Strict`].
pub(crate) struct Strictly<F> {
    service: F,
    client: Arc<Client>,
    aside: Arc<Aside>,
}

/// The two ends of a connection that goes this `way`, for hyper to stand between.
pub(crate) fn pair<S, F>(
    client: &Arc<Client>,
    way: Way,
    stream: S,
    service: F,
) -> (Strict<S>, Strictly<F>, Arc<Aside>) {
    let aside = Arc::new(Aside::default());
    let stream = Strict::new(stream, way, aside.clone(), client);
    let service = Strictly {
        service,
        client: client.clone(),
        aside: aside.clone(),
    };
    (stream, service, aside)
}

impl<F> Service<Request<Incoming>> for Strictly<F>
where
    F: Service<Request<Incoming>, Response = Response<Download>, Error = Infallible>,
    F::Future: Send + 'static,
{
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Download>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let aside = self.aside.clone();
        // Set before hyper reads on, and until the answer's body has gone.
        aside.busy.store(true, Ordering::Release);
        aside.wish.store(UNDECIDED, Ordering::Release);
        let busy = Busy(aside.clone());
        if request.method().as_str() == REFUSED {
            let client = self.client.clone();
            return Box::pin(async move { Ok(refuse(&client, &aside).await.map(|body| body.until_gone(busy))) });
        }
        aside.interims.open(request.version());
        request.extensions_mut().insert(aside.clone());
        let connect = request.method() == Method::CONNECT;
        let answered = self.service.call(request);
        Box::pin(async move {
            let Ok(response) = answered.await;
            aside.interims.close();
            let tunnel =
                response.status() == StatusCode::SWITCHING_PROTOCOLS || connect && response.status().is_success();
            aside
                .wish
                .store(if tunnel { TUNNEL } else { ORDINARY }, Ordering::Release);
            Ok(response.map(|body| body.until_gone(busy)))
        })
    }
}

async fn refuse(client: &Client, aside: &Aside) -> Response<Download> {
    // There is always one: only `Strict` says REFUSED.
    let (fault, asked) = aside
        .head_fault
        .get()
        .cloned()
        .unwrap_or((Fault::StartLine, Asked::default()));
    let (method, url) = (asked.method.as_deref(), asked.url.as_deref());
    let refusal = Refusal::from(fault);
    let mut response = refusal.response(
        method.unwrap_or_default(),
        url.unwrap_or_default(),
        None,
        &HeaderMap::new(),
    );
    client.refused_with(response.status(), fault.reason(), asked).await;
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(Download::words)
}

/// The stream that hyper reads and writes.
pub(crate) struct Strict<S> {
    stream: S,
    way: Way,
    framing: Framing,
    aside: Arc<Aside>,
    flushes: Arc<Flushes>,
    /// Read from the stream: what was given to hyper, what passed, what did not pass yet.
    held: Vec<u8>,
    given: usize,
    passed: usize,
    /// What comes after that which passed.
    then: Then,
    /// Whether the client sends no more, and how long it is waited for then.
    ended: bool,
    leaving: Option<Pin<Box<Sleep>>>,
    half_closed: Duration,
    stalled: Duration,
    clock: Option<Pin<Box<Sleep>>>,
    /// Runs while a head is awaited.
    head: HeadClock,
    /// Whether hyper has nothing left to write.
    flushed: bool,
    /// A 1xx on its way out, and how much of it has gone.
    interim: Vec<u8>,
    interim_gone: usize,
}

#[derive(Clone, Copy)]
enum Then {
    /// More requests.
    Requests,
    /// A fault that hyper has not seen yet.
    Fault(Fault),
    /// What is no HTTP any more.
    Tunnel,
    /// Nothing: the connection is being closed.
    Nothing,
}

impl<S> Strict<S> {
    fn new(stream: S, way: Way, aside: Arc<Aside>, client: &Client) -> Strict<S> {
        let (limits, began) = (&client.proxy.config.limits, client.began());
        Strict {
            stream,
            way,
            framing: Framing::within(limits),
            aside,
            flushes: client.flushes.clone(),
            held: Vec::new(),
            given: 0,
            passed: 0,
            then: Then::Requests,
            ended: false,
            leaving: None,
            half_closed: limits.half_closed,
            stalled: limits.stall,
            clock: None,
            head: HeadClock::new(limits, began),
            flushed: true,
            interim: Vec::new(),
            interim_gone: 0,
        }
    }

    /// Gives what passed; whether there was any.
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

    /// Follows what is held and has not passed.
    fn follow(&mut self) {
        let (more, stop) = self.framing.follow(&mut self.held[self.passed..]);
        self.passed += more;
        self.heed(stop);
    }

    /// Heeds what comes after that which has passed.
    fn heed(&mut self, mut stop: Option<Stop>) {
        while let Some(Stop::Spelling(spelling)) = stop {
            spelling.change(&mut self.held, self.passed);
            let (more, next) = self.framing.follow(&mut self.held[self.passed..]);
            self.passed += more;
            stop = next;
        }
        if let Some(Stop::Fault(fault)) = stop {
            self.then = Then::Fault(fault);
        }
    }

    /// What hyper reads in the place of a fault.
    fn fault(&mut self, fault: Fault, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        // All that passed is given: it begins with the head.
        let held = std::mem::take(&mut self.held);
        (self.given, self.passed) = (0, 0);
        if self.framing.is_in_body() {
            let _ = self.aside.body_fault.set(fault);
            self.then = Then::Nothing;
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault.reason()));
        }
        let _ = self.aside.head_fault.set((fault, Asked::of(&held, &self.way)));
        self.then = Then::Nothing;
        self.held = REFUSED_HEAD.to_vec();
        self.passed = self.held.len();
        self.give(buf);
        Ok(())
    }

    /// The end of what the client sends, after all that passed.
    fn poll_end(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.framing.is_in_body() {
            return Poll::Ready(self.fault(Fault::CutShort, buf));
        }
        // It may still want its answer; it may also be gone.
        if self.aside.busy.load(Ordering::Acquire) {
            let limit = self.half_closed;
            let leaving = self.leaving.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(leaving.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what came of the client's bytes, of which so many passed.
    fn note(&mut self, passed: usize) {
        let within = self.held.len() > self.passed && !self.framing.is_in_body();
        self.aside.within.store(within, Ordering::Relaxed);
        self.head.wind(within, passed > 0);
    }

    /// Ends a connection whose next head is awaited for too long.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let for_a_head =
            matches!(self.then, Then::Requests) && !self.framing.is_in_body() && !self.framing.is_waiting();
        let between = !self.aside.busy.load(Ordering::Acquire) && self.flushed && self.clock.is_none();
        if !for_a_head || !between {
            self.head.stop();
            return Poll::Pending;
        }
        let late = ready!(self.head.poll(cx));
        let _ = self.aside.late.set(late);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Goes on after a wish, if there is an answer to it.
    fn heed_answer(&mut self) -> bool {
        match self.aside.wish.swap(UNDECIDED, Ordering::AcqRel) {
            TUNNEL => {
                self.then = Then::Tunnel;
                self.passed = self.held.len();
            }
            ORDINARY => {
                self.framing.go_on();
                self.follow();
            }
            _ => return false,
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.given < this.passed && this.give(buf) {
                return Poll::Ready(Ok(()));
            }
            let then = this.then;
            match then {
                Then::Requests if this.framing.is_waiting() && this.heed_answer() => continue,
                Then::Requests if this.ended => return this.poll_end(cx, buf),
                // Whoever answers the wish wakes this task.
                Then::Requests if this.framing.is_waiting() && this.held.len() > WAITING_MAX => return Poll::Pending,
                Then::Requests => {}
                Then::Fault(fault) => return Poll::Ready(this.fault(fault, buf)),
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
                this.heed(stop);
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

impl<S: AsyncWrite + Unpin> Strict<S> {
    /// Writes what comes before hyper's next bytes. A 1xx has its place only where hyper has written all of the answer
    /// before: [`Interims`] takes none while there is no request, and the flush says that nothing is left.
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.interim_gone < self.interim.len() {
                let rest = &self.interim[self.interim_gone..];
                match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.interim_gone += written,
                }
            }
            (self.interim, self.interim_gone) = (Vec::new(), 0);
            match self.aside.interims.take(cx) {
                Some(next) if self.flushed => self.interim = next,
                Some(_) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Ends a connection whose client takes nothing for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.clock = None;
            return polled;
        }
        let limit = self.stalled;
        let clock = self.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(clock.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_writing(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Then::Tunnel = self.then {
            return write(Pin::new(&mut self.stream), cx);
        }
        let polled = match self.poll_interims(cx) {
            Poll::Ready(Ok(())) => {
                self.flushed = false;
                write(Pin::new(&mut self.stream), cx)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.in_time(cx, polled)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_writing(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_writing(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Then::Tunnel = this.then {
            return Pin::new(&mut this.stream).poll_flush(cx);
        }
        // hyper comes here only when it has written all that it had.
        this.flushed = true;
        let polled = match this.poll_interims(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_flush(cx),
            other => other,
        };
        if let Poll::Ready(Ok(())) = polled {
            this.flushes.add();
        }
        this.in_time(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
