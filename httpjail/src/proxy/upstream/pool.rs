//! Open upstream connections, shared by all clients of one jail.
//!
//! A connection is only reused for what it was opened for: the key holds the judged host and port, the protocol, and
//! how far the verdict vouched for its address. So no request reaches a connection that it could not have opened.
//! Connections that belong to one client ([`crate::proxy::upstream::client_connections`]) are given out here too, and
//! never to another client.

use crate::net;
use crate::proxy::io::boxed::BoxedIo;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::upstream::client_connections::{AuthenticatingHosts, ClientConnections, SlotGuard};
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::kept::KeptConnections;
use crate::proxy::upstream::key::{ConnectTarget, PoolKey};
use crate::proxy::upstream::lease::{BackTo, Lease, Whole};
use crate::proxy::upstream::open::{ConnectionFactory, Opened};
use std::sync::Arc;

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
    kept: Arc<KeptConnections>,
}

impl Pool {
    pub(crate) fn new(factory: ConnectionFactory) -> Pool {
        Pool {
            kept: factory.connector.kept.clone(),
            factory,
            asking: AuthenticatingHosts::new(),
        }
    }

    /// Returns a connection for a request to `key`.
    pub(crate) async fn connection(&self, key: &PoolKey, wants: Wants<'_>) -> Result<Pooled, DialError> {
        if wants.bound.is_empty() && !wants.proves && !wants.fresh {
            let asking = !wants.http2 && self.asking.has(key);
            if let Ok(connection) = self.kept.take(key, asking) {
                return Ok(Pooled::again(connection));
            }
        }
        // Boxed, for this is rare and its future large.
        Box::pin(self.another(key, wants)).await
    }

    /// The same, where it has to be opened or waited for.
    async fn another(&self, key: &PoolKey, wants: Wants<'_>) -> Result<Pooled, DialError> {
        let turn = match self.own(key, wants).await {
            Ok(pooled) => return Ok(pooled),
            Err(turn) => turn,
        };
        if wants.proves {
            let connection = self.factory.open_apart(key, wants.http2).await?;
            return Ok(Pooled::new(connection, turn));
        }
        let asking = !wants.http2 && self.asking.has(key);
        if wants.fresh {
            let connection = self.open(key, asking).await?;
            return Ok(Pooled::new(connection, None));
        }
        let first = match self.kept.take(key, asking) {
            Ok(connection) => return Ok(Pooled::again(connection)),
            Err(first) => first,
        };
        let leading = match &first {
            None => None,
            Some(first) => match first.try_lock() {
                Ok(leading) => Some(leading),
                Err(_) => {
                    drop(first.lock().await);
                    if let Ok(connection) = self.kept.take(key, asking) {
                        return Ok(Pooled::again(connection));
                    }
                    None
                }
            },
        };
        let connection = self.open(key, asking).await?;
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
        let http1 = self.factory.open_through(key).await?;
        Ok(Pooled::new(Connection::Http1(http1), turn))
    }

    /// Returns the connection that belongs to the client of a request, or else its slot, if there is one.
    async fn own(&self, key: &PoolKey, wants: Wants<'_>) -> Result<Pooled, Option<SlotGuard>> {
        let patience = (wants.serial || wants.proves).then_some(self.factory.limits().connect);
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
        self.factory.connector.stream(scheme, connect_target).await
    }

    /// Lends a connection to the answer that came on it. One that is about its client, as the answer `asks` or as the
    /// request has proved, is kept for that one alone afterwards, or for nobody.
    pub(crate) fn lend(&self, key: PoolKey, pooled: Pooled, wants: Wants<'_>, asks: bool) -> Lease {
        if asks {
            self.asking.note(&key);
        }
        let http1 = match pooled.connection {
            Connection::Http2(stream) => return Lease::Stream(stream.permit),
            Connection::Http1(http1) => http1,
        };
        let claim = || wants.bound.claim(&key).inspect(|turn| self.kept.note_bound(turn));
        let back_to = match pooled.turn {
            Some(turn) => BackTo::Client(turn),
            None if asks || wants.proves => claim().map_or(BackTo::Nobody, BackTo::Client),
            None => BackTo::Pool(key),
        };
        Lease::Whole(Whole {
            http1,
            back_to,
            kept: self.kept.clone(),
        })
    }

    /// Notes that the server wants HTTP/1.1 for this host.
    pub(crate) fn speak_http1(&self, key: &PoolKey) {
        self.asking.note(key);
    }

    /// Returns how many upstream connections there are, and how many were dialed so far.
    pub(crate) fn connections(&self) -> (u64, u64) {
        self.kept.connections()
    }

    /// Closes what has been unused for too long.
    pub(crate) fn sweep(&self) {
        self.kept.sweep();
    }

    /// Closes all that is unused, and returns whether there was any.
    pub(crate) fn close_unused(&self) -> bool {
        self.kept.close_unused()
    }

    /// Opens a connection, and shares it if it is of HTTP/2.
    async fn open(&self, key: &PoolKey, asking: bool) -> Result<Connection, DialError> {
        Ok(match self.factory.open(key, asking).await? {
            Opened::Http1(http1) => {
                if key.protocol == UpstreamProtocol::Tls && !asking {
                    self.kept.note_http1(key);
                }
                Connection::Http1(http1)
            }
            Opened::Http2(shared) => Connection::Http2(self.kept.share(key, shared)),
        })
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
