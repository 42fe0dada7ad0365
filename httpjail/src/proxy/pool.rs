//! Open upstream connections, shared by all clients of one jail.
//!
//! A connection is only used again for what it was opened for: the key holds the judged host and port, how it is spoken to,
//! and how far the verdict vouched for its address. So no request reaches a connection that it could not have opened.

use super::address::Vouch;
use super::body::Upload;
use super::dial::{DialError, Dialler, Goal, Hop};
use super::heard::{Heard, Notes};
use super::joined::Joined;
use super::limits::Limits;
use super::parent::Parent;
use super::stream::Stream;
use crate::net::{self, Host};
use crate::tls::UpstreamError;
use http::uri::Scheme;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    /// HTTP/1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext, by prior knowledge: the client's knowledge, it spoke so itself.
    Http2,
    /// TLS, then what ALPN chose.
    Tls,
}

impl Wire {
    pub(super) fn scheme(self) -> net::Scheme {
        match self {
            Wire::Http1 | Wire::Http2 => net::Scheme::Http,
            Wire::Tls => net::Scheme::Https,
        }
    }
}

/// What a connection was opened for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) wire: Wire,
    pub(super) host: Host,
    pub(super) port: u16,
    /// The address that the client chose among those of the host; nothing where it chose none.
    pub(super) address: Option<IpAddr>,
    pub(super) vouch: Vouch,
}

impl Key {
    fn goal(&self) -> Goal<'_> {
        Goal {
            host: &self.host,
            port: self.port,
            vouch: self.vouch,
            preferred: self.address,
        }
    }
}

pub(super) struct Pool {
    dialler: Dialler,
    slots: Mutex<HashMap<Key, Slot>>,
}

/// The connections of one key.
#[derive(Default)]
struct Slot {
    idle: Vec<(Http1, Instant)>,
    shared: Vec<Shared>,
    /// Held by whoever opens the first connection: if it turns out to speak HTTP/2 the others need none of their own.
    first: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

struct Shared {
    sender: http2::SendRequest<Upload>,
    load: Arc<Load>,
    /// How many streams the upstream allows at a time, as far as it has said so.
    allowed: Box<dyn Fn() -> usize + Send>,
    used: Instant,
    /// Whether the server asked for a client certificate.
    asked: bool,
    notes: Arc<Notes>,
}

/// What an HTTP/2 connection has to carry.
#[derive(Default)]
pub(super) struct Load {
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
pub(super) enum Lease {
    /// Its place on one of HTTP/2.
    Stream(Arc<Load>),
    /// One of HTTP/1, which it has to itself.
    Whole(Arc<Notes>),
}

impl Lease {
    /// Keeps further requests off a connection of HTTP/2, and ends one of HTTP/1 that cannot be written to. Where an answer was broken off its frames still come for a while, and h2
    /// counts small ones as unread for ever; after so many it ends the connection (`too_many_data_frames`), with whatever
    /// else is on it.
    pub(super) fn retire(&self) {
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

/// A connection ready for one request.
pub(super) enum Connection {
    Http1(Http1),
    /// With whether its server asked for a client certificate.
    Http2(http2::SendRequest<Upload>, Lease, bool, Arc<Notes>),
}

/// A connection of HTTP/1, to a server or to another proxy that takes whole URLs.
pub(super) struct Http1 {
    sender: http1::SendRequest<Upload>,
    parent: Option<Arc<Parent>>,
    /// Whether the server asked for a client certificate.
    asked: bool,
    notes: Arc<Notes>,
}

impl Connection {
    /// Whether the server asked for a client certificate, which nobody could give it.
    pub(super) fn asked_who_we_are(&self) -> bool {
        match self {
            Connection::Http1(http1) => http1.asked,
            Connection::Http2(_, _, asked, _) => *asked,
        }
    }

    /// How much the server has said on it so far, of whatever.
    pub(super) fn heard(&self) -> u64 {
        match self {
            Connection::Http1(http1) => http1.notes.heard(),
            Connection::Http2(.., notes) => notes.heard(),
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Connection::Http2(..))
    }

    /// The other proxy that this leads to, where requests are told to that proxy and not only sent through it.
    pub(super) fn parent(&self) -> Option<&Arc<Parent>> {
        match self {
            Connection::Http1(http1) => http1.parent.as_ref(),
            Connection::Http2(..) => None,
        }
    }

    pub(super) async fn send(
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
            Connection::Http2(sender, ..) => sender.try_send_request(request).await,
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

impl Pool {
    pub(super) fn new(dialler: Dialler) -> Pool {
        Pool {
            dialler,
            slots: Mutex::default(),
        }
    }

    /// A connection for `key`, and whether it has been used before. `fresh` asks for one that has not.
    pub(super) async fn connection(&self, key: &Key, fresh: bool) -> Result<(Connection, bool), DialError> {
        // Boxed, here and below: opening is rare, and its future would make that of every request four times as large.
        if fresh {
            return Ok((Box::pin(self.open(key)).await?, false));
        }
        let first = match self.take(key) {
            Ok(connection) => return Ok((connection, true)),
            Err(first) => first,
        };
        let leading = match &first {
            None => None,
            Some(first) => match first.try_lock() {
                Ok(leading) => Some(leading),
                Err(_) => {
                    drop(first.lock().await);
                    if let Ok(connection) = self.take(key) {
                        return Ok((connection, true));
                    }
                    None
                }
            },
        };
        let connection = Box::pin(self.open(key)).await?;
        drop(leading);
        Ok((connection, false))
    }

    /// A connection of HTTP/1 for one upgrade; never pooled. Through another proxy it is a tunnel, in cleartext too: what
    /// comes after the upgrade is not that proxy's to read (RFC 6455 section 4.1).
    pub(super) async fn dedicated(&self, key: &Key) -> Result<http1::SendRequest<Upload>, DialError> {
        let stream = self.stream(key.wire.scheme(), key.goal()).await?;
        match key.wire {
            Wire::Tls => {
                let config = self.dialler.tls.config_h1();
                let config = config.map_err(|error| no_tls(&key.host, &error))?;
                self.handshake1(&key.host, self.dialler.tls(&key.host, stream, config).await?.0)
                    .await
            }
            Wire::Http1 | Wire::Http2 => self.handshake1(&key.host, stream).await,
        }
    }

    /// A connection to do with as one likes.
    pub(super) async fn stream(&self, scheme: net::Scheme, goal: Goal<'_>) -> Result<Stream, DialError> {
        self.make_room();
        self.dialler.stream(scheme, goal).await
    }

    fn limits(&self) -> &Limits {
        &self.dialler.limits
    }

    /// Closes what nobody uses, if there is no place for one connection more.
    fn make_room(&self) {
        if self.dialler.room.available_permits() == 0 {
            for slot in self.lock().values_mut() {
                slot.idle.clear();
                slot.shared.retain(|shared| shared.load.streams() > 0);
            }
        }
    }

    /// Gives a connection back once its exchange is over.
    pub(super) fn give_back(self: &Arc<Self>, key: Key, connection: Connection) -> Lease {
        let mut http1 = match connection {
            Connection::Http2(_, lease, ..) => return lease,
            Connection::Http1(http1) => http1,
        };
        let (pool, lease) = (self.clone(), Lease::Whole(http1.notes.clone()));
        tokio::spawn(async move {
            if http1.sender.ready().await.is_ok() && !http1.notes.is_cut() {
                pool.put(key, http1);
            }
        });
        lease
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let timeout = self.limits().idle;
        let idle = |shared: &Shared| shared.load.streams() == 0 && shared.used.elapsed() > timeout;
        self.lock().retain(|_, slot| {
            slot.idle
                .retain(|(http1, since)| !http1.sender.is_closed() && since.elapsed() <= timeout);
            slot.shared.retain(|shared| !shared.sender.is_closed() && !idle(shared));
            !slot.idle.is_empty() || !slot.shared.is_empty() || Arc::strong_count(&slot.first) > 1
        });
    }

    /// An open connection; if there is none, the lock of the first one where it is not known what will be spoken.
    fn take(&self, key: &Key) -> Result<Connection, Option<Arc<tokio::sync::Mutex<()>>>> {
        let mut slots = self.lock();
        let may_grow = slots.len() < self.limits().idle_hosts;
        let slot = match slots.get_mut(key) {
            Some(slot) => slot,
            None if may_grow => slots.entry(key.clone()).or_default(),
            None => return Err(None),
        };
        while let Some((http1, since)) = slot.idle.pop() {
            if http1.sender.is_ready() && since.elapsed() <= self.limits().idle {
                return Ok(Connection::Http1(http1));
            }
        }
        slot.shared
            .retain(|shared| !shared.sender.is_closed() && !shared.load.is_retired());
        let has_room = |shared: &&mut Shared| {
            // One over it would wait in line for as long as the others last.
            shared.sender.is_ready() && shared.load.streams() < (shared.allowed)()
        };
        if let Some(shared) = slot.shared.iter_mut().find(has_room) {
            shared.used = Instant::now();
            return Ok(shared.lease());
        }
        Err((!slot.speaks_http1 && key.wire != Wire::Http1).then(|| slot.first.clone()))
    }

    fn put(&self, key: Key, http1: Http1) {
        // Somebody may wait for its place.
        if self.dialler.room.available_permits() == 0 {
            return;
        }
        let mut slots = self.lock();
        if slots.contains_key(&key) || slots.len() < self.limits().idle_hosts {
            let slot = slots.entry(key).or_default();
            if slot.idle.len() < self.limits().idle_per_host {
                slot.idle.push((http1, Instant::now()));
            }
        }
    }

    async fn open(&self, key: &Key) -> Result<Connection, DialError> {
        if key.wire == Wire::Http1 {
            self.make_room();
            let (stream, parent) = match self.dialler.hop(key.goal()).await? {
                Hop::Server(stream) => (stream, None),
                Hop::Parent(stream, parent) => (stream, Some(parent)),
            };
            return Ok(Connection::Http1(self.http1(key, stream, parent, false).await?));
        }
        let stream = self.stream(key.wire.scheme(), key.goal()).await?;
        if key.wire == Wire::Http2 {
            return Ok(self.share(key, self.handshake2(&key.host, stream, false).await?));
        }
        let config = self.dialler.tls.config_h1h2();
        let config = config.map_err(|error| no_tls(&key.host, &error))?;
        let (stream, asked) = self.dialler.tls(&key.host, stream, config).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return Ok(self.share(key, self.handshake2(&key.host, stream, asked).await?));
        }
        if let Some(slot) = self.lock().get_mut(key) {
            slot.speaks_http1 = true;
        }
        Ok(Connection::Http1(self.http1(key, stream, None, asked).await?))
    }

    async fn http1<S>(&self, key: &Key, stream: S, parent: Option<Arc<Parent>>, asked: bool) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Heard::to_the_end(stream, self.limits().stall, key.wire == Wire::Tls);
        let notes = stream.notes();
        let sender = self.handshake1(&key.host, stream).await?;
        Ok(Http1 {
            sender,
            parent,
            asked,
            notes,
        })
    }

    async fn handshake1<S>(&self, host: &Host, stream: S) -> Result<http1::SendRequest<Upload>, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_headers(self.limits().fields)
            .max_header_size(self.limits().head)
            .max_buf_size(self.limits().read_at_once())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(host, error))?;
        // Its errors reach the request that was on it.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    async fn handshake2<S>(&self, host: &Host, stream: S, asked: bool) -> Result<Shared, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Heard::new(stream);
        let notes = stream.notes();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Long fat paths need a window of their bandwidth-delay product; this is 4 MiB at 300 ms for 100 Mbit/s.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_header_list_size(u32::try_from(self.limits().head).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .handshake(TokioIo::new(Joined::from_server(stream)))
            .await
            .map_err(|error| failed(host, error))?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let polled = connection.clone();
        tokio::spawn(std::future::poll_fn(move |cx| {
            let mut held = locked(&polled);
            let ended = match &mut *held {
                Some(connection) => Pin::new(connection).poll(cx).is_ready(),
                None => true,
            };
            // Dropped at once, or what still waits to be sent on it would wait for ever.
            if ended {
                *held = None;
                return Poll::Ready(());
            }
            Poll::Pending
        }));
        Ok(Shared {
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

    fn share(&self, key: &Key, shared: Shared) -> Connection {
        let connection = shared.lease();
        if let Some(slot) = self.lock().get_mut(key) {
            slot.shared.push(shared);
        }
        connection
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        locked(&self.slots)
    }
}

/// What `mutex` holds: nothing here panics half way through a change of it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// It, for one stream.
    fn lease(&self) -> Connection {
        self.load.streams.fetch_add(1, Ordering::Relaxed);
        let lease = Lease::Stream(self.load.clone());
        Connection::Http2(self.sender.clone(), lease, self.asked, self.notes.clone())
    }
}

fn failed(host: &Host, error: hyper::Error) -> DialError {
    DialError::Connect(host.clone(), io::Error::other(error))
}

fn no_tls(host: &Host, error: &UpstreamError) -> DialError {
    DialError::Tls(host.clone(), error.to_string())
}
