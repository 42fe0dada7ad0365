//! Opens a new upstream connection for a key, in the version of HTTP that the server speaks.

use crate::net::Host;
use crate::proxy::io::boxed::BoxedIo;
use crate::proxy::limits::Limits;
use crate::proxy::overload::h2_windows::ConnectionCounts;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::dial::{Connector, Route};
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::http2::Http2;
use crate::proxy::upstream::key::PoolKey;
use crate::tls::UpstreamError;

/// A new connection, of the version that its server speaks.
pub(crate) enum Opened {
    Http1(Http1),
    Http2(Http2),
}

/// Opens connections; the [`pool`](crate::proxy::upstream::pool) keeps them.
pub(crate) struct ConnectionFactory {
    pub(crate) connector: Connector,
    pub(crate) windows: ConnectionCounts,
}

impl ConnectionFactory {
    /// Opens a connection, of HTTP/1.1 if the host is known to ask for authentication of connections.
    pub(crate) async fn open(&self, key: &PoolKey, asking: bool) -> Result<Opened, DialError> {
        match key.protocol {
            UpstreamProtocol::Http1 => Ok(Opened::Http1(self.open_http1(key).await?)),
            UpstreamProtocol::Http2 | UpstreamProtocol::Tls if asking => Ok(Opened::Http1(self.open_http1(key).await?)),
            UpstreamProtocol::Http2 => Ok(Opened::Http2(self.open_http2(key).await?)),
            UpstreamProtocol::Tls => self.negotiate(key).await,
        }
    }

    /// Opens a connection that no other client gets, for a request that authenticates its connection. A request that
    /// only works over `http2` gets an HTTP/2 connection of its own.
    pub(crate) async fn open_apart(&self, key: &PoolKey, http2: bool) -> Result<Connection, DialError> {
        let opened = match key.protocol {
            UpstreamProtocol::Http2 if http2 => Opened::Http2(self.open_http2(key).await?),
            UpstreamProtocol::Tls if http2 => self.negotiate(key).await?,
            _ => Opened::Http1(self.open_http1(key).await?),
        };
        Ok(match opened {
            Opened::Http1(http1) => Connection::Http1(http1),
            Opened::Http2(mut http2) => Connection::Http2(http2.stream()),
        })
    }

    /// A new connection of HTTP/1 that leads to the server itself, through a tunnel where another proxy is in between.
    pub(crate) async fn open_through(&self, key: &PoolKey) -> Result<Http1, DialError> {
        let stream = self.stream(key).await?;
        match key.protocol {
            UpstreamProtocol::Tls => self.seal(key, stream).await,
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 => {
                Http1::plain(&key.host, stream, None, self.limits()).await
            }
        }
    }

    async fn open_http1(&self, key: &PoolKey) -> Result<Http1, DialError> {
        let (host, limits) = (&key.host, self.limits());
        if key.protocol == UpstreamProtocol::Tls {
            return self.open_through(key).await;
        }
        match self.connector.route(key.connect_target()).await? {
            Route::Direct(stream) => Http1::plain(host, stream, None, limits).await,
            Route::Proxy(stream, upstream_proxy) => Http1::plain(host, stream, Some(upstream_proxy), limits).await,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.connector.limits
    }

    async fn stream(&self, key: &PoolKey) -> Result<BoxedIo, DialError> {
        self.connector.stream(key.protocol.scheme(), key.connect_target()).await
    }

    /// HTTP/2 in cleartext.
    async fn open_http2(&self, key: &PoolKey) -> Result<Http2, DialError> {
        let stream = self.stream(key).await?;
        Http2::begin(&key.host, stream, false, self.limits(), &self.windows).await
    }

    /// HTTP/1.1 over TLS on `stream`.
    async fn seal(&self, key: &PoolKey, stream: BoxedIo) -> Result<Http1, DialError> {
        let config = self.connector.tls.config_h1();
        let config = config.map_err(|error| no_tls(&key.host, &error))?;
        let (stream, client_cert_requested) = self.connector.tls(&key.host, stream, config).await?;
        Http1::sealed(&key.host, stream, client_cert_requested, self.limits()).await
    }

    /// What the server chooses by ALPN.
    async fn negotiate(&self, key: &PoolKey) -> Result<Opened, DialError> {
        let (host, limits) = (&key.host, self.limits());
        let stream = self.stream(key).await?;
        let config = self.connector.tls.config_h1h2();
        let config = config.map_err(|error| no_tls(host, &error))?;
        let (stream, client_cert_requested) = self.connector.tls(host, stream, config).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let http2 = Http2::begin(host, stream, client_cert_requested, limits, &self.windows).await?;
            return Ok(Opened::Http2(http2));
        }
        Ok(Opened::Http1(
            Http1::sealed(host, stream, client_cert_requested, limits).await?,
        ))
    }
}

fn no_tls(host: &Host, error: &UpstreamError) -> DialError {
    DialError::Tls(host.clone(), error.to_string())
}
