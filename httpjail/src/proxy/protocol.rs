//! How HTTP is spoken on a connection.

use crate::net::Scheme;

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    /// HTTP/1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext, by prior knowledge: the client's knowledge, it spoke so itself.
    Http2,
    /// TLS, then what ALPN chose.
    Tls,
}

impl Wire {
    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Wire::Http1 | Wire::Http2 => Scheme::Http,
            Wire::Tls => Scheme::Https,
        }
    }
}
