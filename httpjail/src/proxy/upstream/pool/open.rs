//! How a new upstream connection is opened for what its key says, and who speaks which version on it.

use crate::net::Host;
use crate::proxy::io::boxed::BoxedIo;
use crate::proxy::protocol::Wire;
use crate::proxy::upstream::connection::{Connection, Http1, Http2};
use crate::proxy::upstream::dial::Hop;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::key::Key;
use crate::proxy::upstream::pool::Pool;
use crate::tls::UpstreamError;

/// What a server chose.
enum Negotiated {
    Http1(Http1),
    Http2(Http2),
}

impl Pool {
    /// A new connection; of HTTP/1.1 if the host is known to be `asking` for it.
    pub(crate) async fn open(&self, key: &Key, asking: bool) -> Result<Connection, DialError> {
        match key.wire {
            Wire::Http1 => self.open_http1(key).await,
            Wire::Http2 | Wire::Tls if asking => self.open_http1(key).await,
            Wire::Http2 => Ok(self.share(key, self.open_http2(key).await?)),
            Wire::Tls => match self.negotiate(key).await? {
                Negotiated::Http2(shared) => Ok(self.share(key, shared)),
                Negotiated::Http1(http1) => {
                    if let Some(slot) = self.lock().get_mut(key) {
                        slot.speaks_http1 = true;
                    }
                    Ok(Connection::Http1(http1))
                }
            },
        }
    }

    /// A new connection that nobody else gets: for a request that proves who asks. What cannot be but `http2` has one of
    /// that for itself.
    pub(crate) async fn open_apart(&self, key: &Key, http2: bool) -> Result<Connection, DialError> {
        Ok(match key.wire {
            Wire::Http2 if http2 => Connection::Http2(self.open_http2(key).await?.stream()),
            Wire::Tls if http2 => match self.negotiate(key).await? {
                Negotiated::Http2(mut apart) => Connection::Http2(apart.stream()),
                Negotiated::Http1(http1) => Connection::Http1(http1),
            },
            _ => self.open_http1(key).await?,
        })
    }

    async fn open_http1(&self, key: &Key) -> Result<Connection, DialError> {
        let (host, limits) = (&key.host, self.limits());
        if key.wire == Wire::Tls {
            let stream = self.stream(key.wire.scheme(), key.goal()).await?;
            return Ok(Connection::Http1(self.seal(key, stream).await?));
        }
        self.make_room();
        let http1 = match self.dialler.hop(key.goal()).await? {
            Hop::Server(stream) => Http1::plain(host, stream, None, limits).await?,
            Hop::Parent(stream, parent) => Http1::plain(host, stream, Some(parent), limits).await?,
        };
        Ok(Connection::Http1(http1))
    }

    /// HTTP/2 in cleartext.
    async fn open_http2(&self, key: &Key) -> Result<Http2, DialError> {
        let stream = self.stream(key.wire.scheme(), key.goal()).await?;
        Http2::begin(&key.host, stream, false, self.limits(), &self.windows).await
    }

    /// HTTP/1.1 over TLS on `stream`.
    pub(crate) async fn seal(&self, key: &Key, stream: BoxedIo) -> Result<Http1, DialError> {
        let config = self.dialler.tls.config_h1();
        let config = config.map_err(|error| no_tls(&key.host, &error))?;
        let (stream, asked) = self.dialler.tls(&key.host, stream, config).await?;
        Http1::sealed(&key.host, stream, asked, self.limits()).await
    }

    /// What the server chooses by ALPN.
    async fn negotiate(&self, key: &Key) -> Result<Negotiated, DialError> {
        let (host, limits) = (&key.host, self.limits());
        let stream = self.stream(key.wire.scheme(), key.goal()).await?;
        let config = self.dialler.tls.config_h1h2();
        let config = config.map_err(|error| no_tls(host, &error))?;
        let (stream, asked) = self.dialler.tls(host, stream, config).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let http2 = Http2::begin(host, stream, asked, limits, &self.windows).await?;
            return Ok(Negotiated::Http2(http2));
        }
        Ok(Negotiated::Http1(Http1::sealed(host, stream, asked, limits).await?))
    }
}

fn no_tls(host: &Host, error: &UpstreamError) -> DialError {
    DialError::Tls(host.clone(), error.to_string())
}
