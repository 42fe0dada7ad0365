//! One open upstream connection of either version: how it begins on a stream, is asked, and let go.
//!
//! HTTP/1 answers one request after the other and is given back to the [`crate::proxy::upstream::pool`] in between. HTTP/2 is shared: each
//! request holds a [`Lease`] of its place.

use crate::net::Host;
use crate::proxy::io::deferred_error::{Heard, Notes};
use crate::proxy::io::h2_coalesce::Joined;
use crate::proxy::limits::Limits;
use crate::proxy::overload::h2_windows::Counts;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::proxy_env::Parent;
use crate::proxy::upstream::request_body::Upload;
use http::uri::Scheme;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection ready for one request.
pub(crate) enum Connection {
    Http1(Http1),
    Http2(Stream),
}

impl Connection {
    /// Whether the server asked for a client certificate, which nobody could give it.
    pub(crate) fn asked_who_we_are(&self) -> bool {
        match self {
            Connection::Http1(http1) => http1.asked,
            Connection::Http2(stream) => stream.asked,
        }
    }

    /// How much the server has said on it so far, of whatever.
    pub(crate) fn heard(&self) -> u64 {
        match self {
            Connection::Http1(http1) => http1.notes.heard(),
            Connection::Http2(stream) => stream.notes.heard(),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Connection::Http2(..))
    }

    /// What follows is not HTTP: a write that fails is told at once.
    pub(crate) fn is_a_tunnel(&self) {
        if let Connection::Http1(http1) = self {
            http1.notes.give_up();
        }
    }

    /// The other proxy that this leads to, where requests are told to that proxy and not only sent through it.
    pub(crate) fn parent(&self) -> Option<&Arc<Parent>> {
        match self {
            Connection::Http1(http1) => http1.parent.as_ref(),
            Connection::Http2(..) => None,
        }
    }

    pub(crate) async fn send(
        &mut self,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        match self {
            Connection::Http1(http1) => {
                if let Some(parent) = &http1.parent {
                    address_to(parent, &mut request);
                }
                http1.sender.try_send_request(request).await
            }
            Connection::Http2(stream) => stream.sender.try_send_request(request).await,
        }
    }
}

/// Turns a request to a server into the same request to `parent`: the whole URL as its target (RFC 9112 section 3.2.2),
/// with what `parent` is to know of us.
fn address_to(parent: &Parent, request: &mut Request<Upload>) {
    let mut parts = request.uri().clone().into_parts();
    let authority = request.headers().get(header::HOST);
    parts.authority = authority.and_then(|host| host.as_bytes().try_into().ok());
    parts.scheme = Some(Scheme::HTTP);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if let Some(authorization) = &parent.authorization {
        request
            .headers_mut()
            .insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
}

/// A connection of HTTP/1, to a server or to another proxy that takes whole URLs.
pub(crate) struct Http1 {
    sender: http1::SendRequest<Upload>,
    parent: Option<Arc<Parent>>,
    /// Whether the server asked for a client certificate.
    asked: bool,
    notes: Arc<Notes>,
}

impl Http1 {
    /// One to a server or, in cleartext, to another proxy.
    pub(crate) async fn plain<S>(
        host: &Host,
        stream: S,
        parent: Option<Arc<Parent>>,
        limits: &Limits,
    ) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Heard::to_the_end(stream, limits.stall, false);
        Http1::on(host, stream, parent, false, limits).await
    }

    /// One over TLS, whose server `asked` for a client certificate or did not.
    pub(crate) async fn sealed<S>(host: &Host, stream: S, asked: bool, limits: &Limits) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Heard::to_the_end(stream, limits.stall, true);
        Http1::on(host, stream, None, asked, limits).await
    }

    async fn on<S>(
        host: &Host,
        stream: Heard<S>,
        parent: Option<Arc<Parent>>,
        asked: bool,
        limits: &Limits,
    ) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let notes = stream.notes();
        let (sender, connection) = builder(limits)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(host, error))?;
        // Its errors reach the request that was on it.
        tokio::spawn(connection.with_upgrades());
        Ok(Http1 {
            sender,
            parent,
            asked,
            notes,
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Awaits the end of the exchange; whether another may follow it.
    pub(crate) async fn ended(&mut self) -> bool {
        self.sender.ready().await.is_ok() && !self.notes.is_cut()
    }

    /// For as long as the answer is read.
    pub(crate) fn lease(&self) -> Lease {
        Lease::Whole(self.notes.clone())
    }
}

/// How HTTP/1 is spoken to a server.
pub(crate) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits.fields)
        .max_header_size(limits.head)
        .max_buf_size(limits.read_at_once())
        // As the client spells the names. One of HTTP/2 has no capitals; to a server that speaks HTTP/1 alone it would
        // write them if there were no proxy.
        .preserve_header_case(true)
        .title_case_headers(true)
        // A proxy must take it away (RFC 9112 section 5.1).
        .allow_spaces_after_header_name_in_responses(true)
        // A folded field goes on as one line (section 5.2), a line that is no field ends here: none of them frames anything
        // that is passed on, and clients forgive both.
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    builder
}

/// A connection of HTTP/2.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Upload>,
    load: Arc<Load>,
    /// How many streams the upstream allows at a time, as far as it has said so.
    allowed: Box<dyn Fn() -> usize + Send>,
    used: Instant,
    /// Whether the server asked for a client certificate.
    asked: bool,
    notes: Arc<Notes>,
}

impl Http2 {
    /// Begins HTTP/2 on `stream`, whose server `asked` for a client certificate or did not.
    pub(crate) async fn begin<S>(
        host: &Host,
        stream: S,
        asked: bool,
        limits: &Limits,
        counts: &Counts,
    ) -> Result<Http2, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Heard::new(stream);
        let notes = stream.notes();
        let (windows, counted) = counts.upstream();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .max_send_buf_size(windows.unsent)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .handshake(TokioIo::new(Joined::from_server(stream)))
            .await
            .map_err(|error| failed(host, error))?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let polled = connection.clone();
        let mut counted = Some(counted);
        tokio::spawn(std::future::poll_fn(move |cx| {
            let mut held = locked(&polled);
            let ended = match &mut *held {
                Some(connection) => Pin::new(connection).poll(cx).is_ready(),
                None => true,
            };
            // Dropped at once, or what still waits to be sent on it would wait for ever.
            if ended {
                *held = None;
                counted.take();
                return Poll::Ready(());
            }
            Poll::Pending
        }));
        Ok(Http2 {
            sender,
            load: Arc::default(),
            // Only the connection knows what its peer's SETTINGS said, and it is not polled when they come.
            allowed: Box::new(move || {
                locked(&connection)
                    .as_ref()
                    .map_or(0, |open| open.current_max_send_streams())
            }),
            used: Instant::now(),
            asked,
            notes,
        })
    }

    /// Whether further requests may be sent on it, now or later.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.load.is_retired()
    }

    /// Whether one may be sent now: one over what the server allows would wait in line for as long as the others last.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.is_ready() && self.load.streams() < (self.allowed)()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.load.streams() == 0
    }

    pub(crate) fn is_unused_for(&self, time: Duration) -> bool {
        self.is_unused() && self.used.elapsed() > time
    }

    /// It, for one request.
    pub(crate) fn stream(&mut self) -> Stream {
        self.used = Instant::now();
        self.load.streams.fetch_add(1, Ordering::Relaxed);
        Stream {
            sender: self.sender.clone(),
            lease: Lease::Stream(self.load.clone()),
            asked: self.asked,
            notes: self.notes.clone(),
        }
    }
}

/// A connection of HTTP/2, for one request.
pub(crate) struct Stream {
    sender: http2::SendRequest<Upload>,
    pub(crate) lease: Lease,
    asked: bool,
    notes: Arc<Notes>,
}

/// What an HTTP/2 connection has to carry.
#[derive(Default)]
pub(crate) struct Load {
    streams: AtomicUsize,
    retired: AtomicBool,
}

impl Load {
    fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// One answer's hold on its connection.
pub(crate) enum Lease {
    /// Its place on one of HTTP/2.
    Stream(Arc<Load>),
    /// One of HTTP/1, which it has to itself.
    Whole(Arc<Notes>),
}

impl Lease {
    /// Its answer was broken off. A connection of HTTP/1 that cannot be written to ends. One of HTTP/2 gets no further
    /// requests: frames of the answer still come for a while, and h2 counts small ones as unread for ever; after so many it
    /// ends the connection (`too_many_data_frames`), with whatever else is on it.
    pub(crate) fn retire(&self) {
        match self {
            Lease::Stream(load) => load.retired.store(true, Ordering::Relaxed),
            Lease::Whole(notes) => notes.give_up(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Lease::Stream(load) = self {
            load.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What `mutex` holds: nothing here panics half way through a change of it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(host: &Host, error: hyper::Error) -> DialError {
    DialError::Connect(host.clone(), io::Error::other(error))
}
