//! Checks whether a client may use the proxy.
//!
//! In weak mode and for `serve` every process on the host can reach the proxy's port.

use crate::proxy::auth::socket_owner;
use crate::proxy::auth::token::Token;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use std::net::SocketAddr;
use tokio::sync::OnceCell;

/// Who may use a proxy that every process on this host can reach.
pub(crate) enum ProxyAuth {
    /// Every client.
    Open,
    /// Clients that send the token, as the password of `Proxy-Authorization: Basic`.
    Token(Box<Token>),
    /// Clients that send the token, and clients of this process's own user that send none, where the system tells the
    /// user.
    TokenOrSelf(Box<Token>),
}

impl ProxyAuth {
    /// Returns whether a request with these fields may go on. Nothing means that this is for [`is_own`] to say, which has
    /// not been asked: `own` keeps what it said.
    pub(crate) fn admits(&self, fields: &HeaderMap, own: &OnceCell<bool>) -> Option<bool> {
        let (token, or_self) = match self {
            ProxyAuth::Open => return Some(true),
            ProxyAuth::Token(token) => (token, false),
            ProxyAuth::TokenOrSelf(token) => (token, true),
        };
        let mut values = fields.get_all(header::PROXY_AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Some(password(value.as_bytes()).is_some_and(|guess| token.is(&guess))),
            (None, _) if or_self => own.get().copied(),
            _ => Some(false),
        }
    }
}

/// Returns whether the client at `addrs` runs as this process's own user. Asks the system once; `own` keeps the answer.
pub(crate) async fn is_own(addrs: AddrPair, own: &OnceCell<bool>) -> bool {
    let ask = async || {
        let asked = tokio::task::spawn_blocking(move || socket_owner::is_own_user(addrs.client, addrs.proxy));
        asked.await.unwrap_or(false)
    };
    *own.get_or_init(ask).await
}

/// The addresses of an accepted connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddrPair {
    pub(crate) client: SocketAddr,
    pub(crate) proxy: SocketAddr,
}

/// Returns the password of `Basic base64(user:password)` (RFC 7617 section 2).
fn password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, coded) = value.split_at_checked(6)?;
    let pair = STANDARD.decode(coded.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    scheme
        .eq_ignore_ascii_case(b"basic ")
        .then(|| pair[colon + 1..].to_vec())
}
