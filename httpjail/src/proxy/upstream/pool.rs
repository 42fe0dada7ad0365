//! Open upstream connections, shared by all clients of one jail.
//!
//! A connection is only reused for what it was opened for: the key holds the judged host and port, the protocol, and
//! how far the verdict vouched for its address. So no request reaches a connection that it could not have opened.
//! Connections that belong to one client ([`crate::proxy::upstream::client_connections`]) are given out here too, and
//! never to another client.

use crate::net;
use crate::proxy::io::boxed::BoxedIo;
use crate::proxy::limits::Limits;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::upstream::client_connections::{
    AllClientConnections, AuthenticatingHosts, ClientConnections, SlotGuard,
};
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::http2::Http2;
use crate::proxy::upstream::key::{ConnectTarget, PoolKey};
use crate::proxy::upstream::open::{ConnectionFactory, Opened};
use crate::proxy::upstream::stream_permit::StreamPermit;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// What a request wants of its connection.
#[derive(Clone, Copy)]
pub(crate) struct Wants<'a> {
    /// The connections that belong to its client.
    pub(crate) bound: &'a ClientConnections,
    /// Whether it proves who the connection belongs to.
    pub(crate) proves: bool,
    /// Whether it is only itself over HTTP/2 (gRPC).
    pub(crate) http2: bool,
    /// Whether the client waits for its answer before it asks on (HTTP/1).
    pub(crate) serial: bool,
    /// Whether a connection that has been used before will not do.
    pub(crate) fresh: bool,
}

/// A connection for one request.
pub(crate) struct Pooled {
    pub(crate) connection: Connection,
    /// Whether it has been used before.
    pub(crate) reused: bool,
    /// The slot that it came from, if it belongs to one client.
    pub(crate) turn: Option<SlotGuard>,
}

pub(crate) struct Pool {
    factory: ConnectionFactory,
    asking: AuthenticatingHosts,
    bound: AllClientConnections,
    slots: Mutex<HashMap<PoolKey, Slot>>,
}

/// The connections of one key.
#[derive(Default)]
struct Slot {
    idle: Vec<(Http1, Instant)>,
    shared: Vec<Http2>,
    /// Held while the first connection is opened: if that one speaks HTTP/2, the other requests need no connection of
    /// their own.
    first: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

impl Pool {
    pub(crate) fn new(factory: ConnectionFactory) -> Pool {
        Pool {
            factory,
            asking: AuthenticatingHosts::new(),
            bound: AllClientConnections::default(),
            slots: Mutex::default(),
        }
    }

    /// Returns a connection for a request to `key`.
    pub(crate) async fn connection(&self, key: &PoolKey, wants: Wants<'_>) -> Result<Pooled, DialError> {
        let turn = match self.own(key, wants).await {
            Ok(pooled) => return Ok(pooled),
            Err(turn) => turn,
        };
        // Boxed, here and below: opening is rare, and its future would make that of every request four times as large.
        if wants.proves {
            self.make_room();
            let connection = Box::pin(self.factory.open_apart(key, wants.http2)).await?;
            return Ok(Pooled::new(connection, turn));
        }
        let asking = !wants.http2 && self.asking.has(key);
        if wants.fresh {
            let connection = Box::pin(self.open(key, asking)).await?;
            return Ok(Pooled::new(connection, None));
        }
        let first = match self.take(key, asking) {
            Ok(pooled) => return Ok(pooled),
            Err(first) => first,
        };
        let leading = match &first {
            None => None,
            Some(first) => match first.try_lock() {
                Ok(leading) => Some(leading),
                Err(_) => {
                    drop(first.lock().await);
                    if let Ok(pooled) = self.take(key, asking) {
                        return Ok(pooled);
                    }
                    None
                }
            },
        };
        let connection = Box::pin(self.open(key, asking)).await?;
        drop(leading);
        Ok(Pooled::new(connection, None))
    }

    /// A connection of HTTP/1 for one upgrade: that of its client, or a new one. Through another proxy it is a tunnel,
    /// in cleartext too: what comes after the upgrade is not that proxy's to read (RFC 6455 section 4.1).
    pub(crate) async fn dedicated(&self, key: &PoolKey, wants: Wants<'_>) -> Result<Pooled, DialError> {
        let turn = match self.own(key, wants).await {
            Ok(pooled) if pooled.connection.upstream_proxy().is_none() => return Ok(pooled),
            Ok(pooled) => {
                pooled.leave();
                None
            }
            Err(turn) => turn,
        };
        self.make_room();
        let http1 = self.factory.open_through(key).await?;
        Ok(Pooled::new(Connection::Http1(http1), turn))
    }

    /// Returns the connection that belongs to the client of a request, or else its slot, if there is one.
    async fn own(&self, key: &PoolKey, wants: Wants<'_>) -> Result<Pooled, Option<SlotGuard>> {
        let patience = (wants.serial || wants.proves).then_some(self.limits().connect);
        let Some(mut turn) = wants.bound.turn(key, patience).await else {
            return Err(None);
        };
        match turn.take() {
            Some(http1) if http1.is_ready() && !wants.fresh => Ok(Pooled {
                connection: Connection::Http1(http1),
                reused: true,
                turn: Some(turn),
            }),
            _ => Err(Some(turn)),
        }
    }

    /// Opens a connection that the pool does not keep.
    pub(crate) async fn stream(
        &self,
        scheme: net::Scheme,
        connect_target: ConnectTarget<'_>,
    ) -> Result<BoxedIo, DialError> {
        self.make_room();
        self.factory.connector.stream(scheme, connect_target).await
    }

    fn limits(&self) -> &Limits {
        self.factory.limits()
    }

    /// Returns whether a permit for one more connection is free. If none is, another request may be waiting for one.
    fn has_room(&self) -> bool {
        self.factory.connector.permits.available_permits() > 0
    }

    /// Closes unused connections, if no permit for one more is free.
    fn make_room(&self) {
        if !self.has_room() {
            for slot in self.lock().values_mut() {
                slot.idle.clear();
                slot.shared.retain(|shared| !shared.is_unused());
            }
            self.bound.empty();
        }
    }

    /// Gives a connection back once its exchange is over. One that is about its client, as the answer `asks` or as the
    /// request has proved, is kept for that one alone.
    pub(crate) fn give_back(
        self: &Arc<Self>,
        key: PoolKey,
        pooled: Pooled,
        wants: Wants<'_>,
        asks: bool,
    ) -> StreamPermit {
        if asks {
            self.asking.note(&key);
        }
        let mut http1 = match pooled.connection {
            Connection::Http2(stream) => return stream.permit,
            Connection::Http1(http1) => http1,
        };
        let (pool, permit) = (self.clone(), http1.permit());
        if pooled.turn.is_some() || asks || wants.proves {
            // Without a place it ends with its exchange.
            let claim = || wants.bound.claim(&key).inspect(|turn| self.bound.note(turn));
            if let Some(mut turn) = pooled.turn.or_else(claim) {
                tokio::spawn(async move {
                    *turn = (http1.ended().await && pool.has_room()).then_some(http1);
                });
            }
            return permit;
        }
        tokio::spawn(async move {
            if http1.ended().await {
                pool.put(key, http1);
            }
        });
        permit
    }

    /// Notes that the server wants HTTP/1.1 for this host.
    pub(crate) fn speak_http1(&self, key: &PoolKey) {
        self.asking.note(key);
    }

    /// Closes what has been idle for too long.
    pub(crate) fn sweep(&self) {
        let timeout = self.limits().idle;
        self.lock().retain(|_, slot| {
            slot.idle
                .retain(|(http1, since)| !http1.is_closed() && since.elapsed() <= timeout);
            slot.shared
                .retain(|shared| shared.is_open() && !shared.is_unused_for(timeout));
            !slot.idle.is_empty() || !slot.shared.is_empty() || Arc::strong_count(&slot.first) > 1
        });
    }

    /// Returns an open connection. If there is none, and it is not known which protocol the server speaks, returns the
    /// lock of the first connection.
    fn take(&self, key: &PoolKey, asking: bool) -> Result<Pooled, Option<Arc<tokio::sync::Mutex<()>>>> {
        let mut slots = self.lock();
        let may_grow = slots.len() < self.limits().idle_hosts;
        let slot = match slots.get_mut(key) {
            Some(slot) => slot,
            None if may_grow => slots.entry(key.clone()).or_default(),
            None => return Err(None),
        };
        while let Some((http1, since)) = slot.idle.pop() {
            if http1.is_ready() && since.elapsed() <= self.limits().idle {
                return Ok(Pooled::again(Connection::Http1(http1)));
            }
        }
        if asking {
            return Err(None);
        }
        slot.shared.retain(Http2::is_open);
        if let Some(shared) = slot.shared.iter_mut().find(|shared| shared.has_room()) {
            return Ok(Pooled::again(Connection::Http2(shared.stream())));
        }
        Err((!slot.speaks_http1 && key.protocol != UpstreamProtocol::Http1).then(|| slot.first.clone()))
    }

    fn put(&self, key: PoolKey, http1: Http1) {
        if !self.has_room() {
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

    /// Opens a connection, and shares it if it is of HTTP/2.
    async fn open(&self, key: &PoolKey, asking: bool) -> Result<Connection, DialError> {
        self.make_room();
        match self.factory.open(key, asking).await? {
            Opened::Http1(http1) => {
                if key.protocol == UpstreamProtocol::Tls
                    && !asking
                    && let Some(slot) = self.lock().get_mut(key)
                {
                    slot.speaks_http1 = true;
                }
                Ok(Connection::Http1(http1))
            }
            Opened::Http2(mut shared) => {
                let connection = Connection::Http2(shared.stream());
                if let Some(slot) = self.lock().get_mut(key) {
                    slot.shared.push(shared);
                }
                Ok(connection)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolKey, Slot>> {
        lock(&self.slots)
    }
}

impl Pooled {
    fn new(connection: Connection, turn: Option<SlotGuard>) -> Pooled {
        Pooled {
            connection,
            reused: false,
            turn,
        }
    }

    /// Puts it back unused.
    fn leave(self) {
        if let (Connection::Http1(http1), Some(mut turn)) = (self.connection, self.turn) {
            *turn = Some(http1);
        }
    }

    fn again(connection: Connection) -> Pooled {
        Pooled {
            connection,
            reused: true,
            turn: None,
        }
    }
}
