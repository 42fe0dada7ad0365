//! Why a connection to an upstream failed, and the refusal that the client gets for it.

use crate::net::Host;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::upstream::address::Class;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::proxy_env::UpstreamProxy;
use http::{HeaderMap, StatusCode};
use std::io;
use std::sync::Arc;

/// Why there is no upstream connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("this host could not resolve the name {0}: {1}")]
    Name(Host, io::Error),
    #[error("the name {0} has no address")]
    NoAddress(Host),
    #[error("{0} {verb} {article} {cls}, which is reachable only by a rule that names this host", verb = if .0.ip().is_some() { "is" } else { "has" }, article = if matches!(.1, Class::Own | Class::Unspecified) { "an" } else { "a" }, cls = .1.as_str())]
    Address(Host, Class),
    #[error("{0} is the proxy itself")]
    Itself(Host),
    #[error("connecting to {0} failed: {why}", why = unconnected(.1))]
    Connect(Host, io::Error),
    #[error("TLS with {0} failed: {1}")]
    Tls(Host, String),
    #[error("{0} timed out: {step}", step = .1.as_str())]
    TimedOut(Host, Step),
    #[error("the proxy {0}, which httpjail's own environment names, failed: {1}")]
    UpstreamProxy(Arc<UpstreamProxy>, Box<DialError>),
    #[error("the proxy {0}, which httpjail's own environment names, {answer}", answer = answer(*.1))]
    ProxyRefused(Arc<UpstreamProxy>, StatusCode),
    #[error(
        "the proxy {0}, which httpjail's own environment names, wants NTLM or Negotiate; httpjail has only a password for it \
         (a proxy in between that knows them, as cntlm or px, helps)"
    )]
    ProxyWantsMore(Arc<UpstreamProxy>),
}

impl DialError {
    /// The error of a request that `upstream_proxy` has refused with this answer.
    pub(crate) fn refused_by(upstream_proxy: &Arc<UpstreamProxy>, status: StatusCode, fields: &HeaderMap) -> DialError {
        match status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && connection_auth::takes_no_password(fields) {
            true => DialError::ProxyWantsMore(upstream_proxy.clone()),
            false => DialError::ProxyRefused(upstream_proxy.clone(), status),
        }
    }

    /// The error of a connection that ended before it could be asked.
    pub(crate) fn broken_off(host: &Host, error: hyper::Error) -> DialError {
        DialError::Connect(host.clone(), io::Error::other(error))
    }

    /// Returns the same error as one on the way to `upstream_proxy`.
    pub(crate) fn by(self, upstream_proxy: &Arc<UpstreamProxy>) -> DialError {
        DialError::UpstreamProxy(upstream_proxy.clone(), Box::new(self))
    }
}

/// The steps on the way to an upstream that can time out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Permit,
    Name,
    Connect,
    Tls,
    Tunnel,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Step::Permit => "too many upstream connections are open",
            Step::Name => "resolving the name: this host's name servers gave no answer",
            Step::Connect => "connecting: no answer (or a firewall drops it)",
            Step::Tls => "the TLS handshake",
            Step::Tunnel => "opening a tunnel",
        }
    }
}

/// Why a connection failed, in words for people.
fn unconnected(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens on that port",
        io::ErrorKind::HostUnreachable => "host unreachable: this host has no route to it",
        io::ErrorKind::NetworkUnreachable => "network unreachable: this host has no route to it",
        io::ErrorKind::TimedOut => "timed out: no answer",
        _ => return error.to_string(),
    };
    words.to_owned()
}

/// What a proxy's status means, in words for people.
fn answer(status: StatusCode) -> String {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "wants a user name and password other than those in its URL".into()
        }
        status => format!("answered {status}"),
    }
}

impl From<DialError> for Refusal {
    fn from(error: DialError) -> Refusal {
        let (kind, reason) = match &error {
            DialError::Name(..) | DialError::NoAddress(_) => (Kind::Upstream, "name not resolved"),
            DialError::Address(_, class) => (Kind::Denied, class.as_str()),
            DialError::Itself(_) => (Kind::Denied, "the proxy itself"),
            DialError::Connect(..) => (Kind::Upstream, "connect failed"),
            DialError::Tls(..) => (Kind::Upstream, "certificate"),
            DialError::TimedOut(..) => (Kind::TimedOut, "timed out"),
            DialError::UpstreamProxy(_, by) if matches!(**by, DialError::TimedOut(..)) => {
                (Kind::TimedOut, "upstream proxy")
            }
            DialError::UpstreamProxy(..) | DialError::ProxyRefused(..) | DialError::ProxyWantsMore(_) => {
                (Kind::Upstream, "upstream proxy")
            }
        };
        Refusal {
            names_host: match &error {
                DialError::Address(_, class) => Some(*class == Class::Private),
                _ => None,
            },
            ..Refusal::new(kind, reason, format!("{error}."))
        }
    }
}
