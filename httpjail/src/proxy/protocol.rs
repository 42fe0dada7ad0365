//! How HTTP is spoken on a connection.

use crate::net::Scheme;

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum UpstreamProtocol {
    /// HTTP/1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext, by prior knowledge: the client's knowledge, it spoke so itself.
    Http2,
    /// TLS, then what ALPN chose.
    Tls,
}

impl UpstreamProtocol {
    pub(crate) fn scheme(self) -> Scheme {
        match self {
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 => Scheme::Http,
            UpstreamProtocol::Tls => Scheme::Https,
        }
    }
}
