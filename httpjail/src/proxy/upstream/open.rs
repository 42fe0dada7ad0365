//! How a new upstream connection is opened for what its key says, and who speaks which version on it.

use crate::net::Host;
use crate::proxy::io::boxed::BoxedIo;
use crate::proxy::limits::Limits;
use crate::proxy::overload::h2_windows::Counts;
use crate::proxy::protocol::Wire;
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::dial::{Dialler, Hop};
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::http2::Http2;
use crate::proxy::upstream::key::Key;
use crate::tls::UpstreamError;

/// A new connection, of the version that its server speaks.
pub(crate) enum Opened {
    Http1(Http1),
    Http2(Http2),
}

/// Opens connections; the [`pool`](crate::proxy::upstream::pool) keeps them.
pub(crate) struct Opener {
    pub(crate) dialler: Dialler,
    pub(crate) windows: Counts,
}

impl Opener {
    /// A new connection; of HTTP/1.1 if the host is known to be `asking` for it.
    pub(crate) async fn open(&self, key: &Key, asking: bool) -> Result<Opened, DialError> {
        match key.wire {
            Wire::Http1 => Ok(Opened::Http1(self.open_http1(key).await?)),
            Wire::Http2 | Wire::Tls if asking => Ok(Opened::Http1(self.open_http1(key).await?)),
            Wire::Http2 => Ok(Opened::Http2(self.open_http2(key).await?)),
            Wire::Tls => self.negotiate(key).await,
        }
    }

    /// A new connection that nobody else gets: for a request that proves who asks. What cannot be but `http2` has one of
    /// that for itself.
    pub(crate) async fn open_apart(&self, key: &Key, http2: bool) -> Result<Connection, DialError> {
        let opened = match key.wire {
            Wire::Http2 if http2 => Opened::Http2(self.open_http2(key).await?),
            Wire::Tls if http2 => self.negotiate(key).await?,
            _ => Opened::Http1(self.open_http1(key).await?),
        };
        Ok(match opened {
            Opened::Http1(http1) => Connection::Http1(http1),
            Opened::Http2(mut http2) => Connection::Http2(http2.stream()),
        })
    }

    /// A new connection of HTTP/1 that leads to the server itself, through a tunnel where another proxy is in between.
    pub(crate) async fn open_through(&self, key: &Key) -> Result<Http1, DialError> {
        let stream = self.stream(key).await?;
        match key.wire {
            Wire::Tls => self.seal(key, stream).await,
            Wire::Http1 | Wire::Http2 => Http1::plain(&key.host, stream, None, self.limits()).await,
        }
    }

    async fn open_http1(&self, key: &Key) -> Result<Http1, DialError> {
        let (host, limits) = (&key.host, self.limits());
        if key.wire == Wire::Tls {
            return self.open_through(key).await;
        }
        match self.dialler.hop(key.goal()).await? {
            Hop::Server(stream) => Http1::plain(host, stream, None, limits).await,
            Hop::Parent(stream, parent) => Http1::plain(host, stream, Some(parent), limits).await,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.dialler.limits
    }

    async fn stream(&self, key: &Key) -> Result<BoxedIo, DialError> {
        self.dialler.stream(key.wire.scheme(), key.goal()).await
    }

    /// HTTP/2 in cleartext.
    async fn open_http2(&self, key: &Key) -> Result<Http2, DialError> {
        let stream = self.stream(key).await?;
        Http2::begin(&key.host, stream, false, self.limits(), &self.windows).await
    }

    /// HTTP/1.1 over TLS on `stream`.
    async fn seal(&self, key: &Key, stream: BoxedIo) -> Result<Http1, DialError> {
        let config = self.dialler.tls.config_h1();
        let config = config.map_err(|error| no_tls(&key.host, &error))?;
        let (stream, asked) = self.dialler.tls(&key.host, stream, config).await?;
        Http1::sealed(&key.host, stream, asked, self.limits()).await
    }

    /// What the server chooses by ALPN.
    async fn negotiate(&self, key: &Key) -> Result<Opened, DialError> {
        let (host, limits) = (&key.host, self.limits());
        let stream = self.stream(key).await?;
        let config = self.dialler.tls.config_h1h2();
        let config = config.map_err(|error| no_tls(host, &error))?;
        let (stream, asked) = self.dialler.tls(host, stream, config).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let http2 = Http2::begin(host, stream, asked, limits, &self.windows).await?;
            return Ok(Opened::Http2(http2));
        }
        Ok(Opened::Http1(Http1::sealed(host, stream, asked, limits).await?))
    }
}

fn no_tls(host: &Host, error: &UpstreamError) -> DialError {
    DialError::Tls(host.clone(), error.to_string())
}
