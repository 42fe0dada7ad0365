//! Open upstream connections, shared by all clients of one jail.
//!
//! A connection is only used again for what it was opened for: the key holds the judged host and port, how it is spoken to,
//! and how far the verdict vouched for its address. So no request reaches a connection that it could not have opened.

use super::address::Vouch;
use super::body::Upload;
use super::dial::{DialError, Dialler, Goal, Hop};
use super::limits::Limits;
use super::stream::Stream;
use super::upstream::{self, Connection, Http1, Http2, Lease};
use super::windows::Counts;
use crate::net::{self, Host};
use crate::tls::UpstreamError;
use hyper::client::conn::http1;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
    windows: Counts,
    slots: Mutex<HashMap<Key, Slot>>,
}

/// The connections of one key.
#[derive(Default)]
struct Slot {
    idle: Vec<(Http1, Instant)>,
    shared: Vec<Http2>,
    /// Held by whoever opens the first connection: if it turns out to speak HTTP/2 the others need none of their own.
    first: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

impl Pool {
    pub(super) fn new(dialler: Dialler, windows: Counts) -> Pool {
        Pool {
            dialler,
            windows,
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
                let (stream, _) = self.dialler.tls(&key.host, stream, config).await?;
                upstream::handshake(&key.host, stream, self.limits()).await
            }
            Wire::Http1 | Wire::Http2 => upstream::handshake(&key.host, stream, self.limits()).await,
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
                slot.shared.retain(|shared| !shared.is_unused());
            }
        }
    }

    /// Gives a connection back once its exchange is over.
    pub(super) fn give_back(self: &Arc<Self>, key: Key, connection: Connection) -> Lease {
        let mut http1 = match connection {
            Connection::Http2(stream) => return stream.lease,
            Connection::Http1(http1) => http1,
        };
        let (pool, lease) = (self.clone(), http1.lease());
        tokio::spawn(async move {
            if http1.ended().await {
                pool.put(key, http1);
            }
        });
        lease
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let timeout = self.limits().idle;
        self.lock().retain(|_, slot| {
            slot.idle
                .retain(|(http1, since)| !http1.is_closed() && since.elapsed() <= timeout);
            slot.shared
                .retain(|shared| shared.is_open() && !shared.is_unused_for(timeout));
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
            if http1.is_ready() && since.elapsed() <= self.limits().idle {
                return Ok(Connection::Http1(http1));
            }
        }
        slot.shared.retain(Http2::is_open);
        if let Some(shared) = slot.shared.iter_mut().find(|shared| shared.has_room()) {
            return Ok(Connection::Http2(shared.stream()));
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
        let (host, limits) = (&key.host, self.limits());
        if key.wire == Wire::Http1 {
            self.make_room();
            let http1 = match self.dialler.hop(key.goal()).await? {
                Hop::Server(stream) => Http1::plain(host, stream, None, limits).await?,
                Hop::Parent(stream, parent) => Http1::plain(host, stream, Some(parent), limits).await?,
            };
            return Ok(Connection::Http1(http1));
        }
        let stream = self.stream(key.wire.scheme(), key.goal()).await?;
        if key.wire == Wire::Http2 {
            return Ok(self.share(key, Http2::begin(host, stream, false, limits, &self.windows).await?));
        }
        let config = self.dialler.tls.config_h1h2();
        let config = config.map_err(|error| no_tls(host, &error))?;
        let (stream, asked) = self.dialler.tls(host, stream, config).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return Ok(self.share(key, Http2::begin(host, stream, asked, limits, &self.windows).await?));
        }
        if let Some(slot) = self.lock().get_mut(key) {
            slot.speaks_http1 = true;
        }
        Ok(Connection::Http1(Http1::sealed(host, stream, asked, limits).await?))
    }

    fn share(&self, key: &Key, mut shared: Http2) -> Connection {
        let connection = Connection::Http2(shared.stream());
        if let Some(slot) = self.lock().get_mut(key) {
            slot.shared.push(shared);
        }
        connection
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        // Nothing here panics half way through a change of it.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_tls(host: &Host, error: &UpstreamError) -> DialError {
    DialError::Tls(host.clone(), error.to_string())
}
