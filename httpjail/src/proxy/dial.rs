//! The upstream leg: from the judged host to an open connection.
//!
//! The name that was judged is resolved here, by the host's resolver; the address that the client connected to only
//! decides which of the answers is tried first. Every address is checked right before it is dialled.

use super::address::{self, Class, Vouch};
use super::limits::Limits;
use crate::net::{Host, OriginalDst};
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Later addresses are tried this long after earlier ones (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// How many of a name's addresses are tried at most.
const ADDRESSES_MAX: usize = 8;

/// What a [`Network`] is doing.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// The network of the upstream leg: never the jail's. Tests play their own.
pub trait Network: Send + Sync + 'static {
    /// The addresses of `name`, best first.
    fn resolve<'a>(&'a self, name: &'a str) -> Doing<'a, Vec<IpAddr>>;

    /// Whether an interface of this host has `address`.
    fn is_own(&self, address: IpAddr) -> bool;

    /// A connection to an address that was found fit to be dialled.
    fn connect(&self, address: SocketAddr) -> Doing<'static, TcpStream>;
}

/// The host's own resolver (`getaddrinfo`) and routes.
#[derive(Debug, Clone, Copy)]
pub struct HostNetwork;

impl Network for HostNetwork {
    fn resolve<'a>(&'a self, name: &'a str) -> Doing<'a, Vec<IpAddr>> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0))
                .await?
                .map(|answer| answer.ip())
                .collect())
        })
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address::is_own(address)
    }

    fn connect(&self, address: SocketAddr) -> Doing<'static, TcpStream> {
        Box::pin(TcpStream::connect(address))
    }
}

/// Why there is no upstream connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the name {0} could not be resolved: {1}")]
    Name(Host, io::Error),
    #[error("the name {0} has no address")]
    NoAddress(Host),
    #[error("{0} leads where only a rule that names this very host may lead ({cls})", cls = .1.as_str())]
    Address(Host, Class),
    #[error("{0} is the proxy itself")]
    Itself(Host),
    #[error("connecting to {0} failed: {1}")]
    Connect(Host, io::Error),
    #[error("TLS with {0} failed: {1}")]
    Tls(Host, String),
    #[error("{0} timed out: {1}")]
    TimedOut(Host, &'static str),
}

/// Opens checked connections.
pub(super) struct Dialler {
    pub(super) network: Arc<dyn Network>,
    /// Where the proxy itself listens, in the namespace that it dials from.
    pub(super) itself: Vec<SocketAddr>,
    pub(super) limits: Limits,
}

impl Dialler {
    /// Connects to `host`, at an address that `vouch` permits; `preferred`, where the client wanted to go, first.
    pub(super) async fn tcp(
        &self,
        host: &Host,
        port: u16,
        vouch: Vouch,
        preferred: Option<OriginalDst>,
    ) -> Result<TcpStream, DialError> {
        let late = |what| move |_| DialError::TimedOut(host.clone(), what);
        let mut addresses = match host.as_name() {
            Some(name) => timeout(self.limits.resolve, self.network.resolve(name))
                .await
                .map_err(late("resolving the name"))?
                .map_err(|error| DialError::Name(host.clone(), error))?,
            None => host.ip().into_iter().collect(),
        };
        for address in &mut addresses {
            *address = address.to_canonical();
        }
        let preferred = preferred.map(|original| original.0.ip().to_canonical());
        if let Some(at) = addresses.iter().position(|address| Some(*address) == preferred) {
            addresses[..=at].rotate_right(1);
        }
        let addresses = self.permitted(host, port, vouch, addresses)?;
        let stream = timeout(self.limits.connect, self.race(addresses, port))
            .await
            .map_err(late("connecting"))?
            .map_err(|error| DialError::Connect(host.clone(), error))?;
        // Nagle's algorithm would hold back the last part of each message for the other side's delayed ACK.
        stream
            .set_nodelay(true)
            .map_err(|error| DialError::Connect(host.clone(), error))?;
        Ok(stream)
    }

    /// TLS on top of `stream`, verified for `host`.
    pub(super) async fn tls(
        &self,
        host: &Host,
        stream: TcpStream,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let refused = |why: String| DialError::Tls(host.clone(), why);
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| refused("not a server name".into()))?,
            Host::V4(address) => ServerName::from(IpAddr::from(*address)),
            Host::V6(address) => ServerName::from(IpAddr::from(*address)),
        };
        timeout(self.limits.tls, TlsConnector::from(config).connect(name, stream))
            .await
            .map_err(|_| DialError::TimedOut(host.clone(), "the TLS handshake"))?
            .map_err(|error| match crate::tls::explain_io(&error) {
                Some(fault) => refused(fault.to_string()),
                None => refused(error.to_string()),
            })
    }

    /// Those of `addresses` that may be dialled; an error if none of them may.
    fn permitted(
        &self,
        host: &Host,
        port: u16,
        vouch: Vouch,
        addresses: Vec<IpAddr>,
    ) -> Result<VecDeque<IpAddr>, DialError> {
        let mut refusal = DialError::NoAddress(host.clone());
        let mut permitted = VecDeque::new();
        for ip in addresses.into_iter().take(ADDRESSES_MAX) {
            let class = self.class_of(ip);
            if self.is_itself(ip, port, class) {
                refusal = DialError::Itself(host.clone());
            } else if class.permits(host, ip, vouch) {
                permitted.push_back(ip);
            } else {
                refusal = DialError::Address(host.clone(), class);
            }
        }
        if permitted.is_empty() {
            Err(refusal)
        } else {
            Ok(permitted)
        }
    }

    fn class_of(&self, ip: IpAddr) -> Class {
        let is_own = |ip| self.network.is_own(ip);
        let translated = match ip {
            IpAddr::V6(v6) => address::embedded_v4(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        match address::classify(ip) {
            // A private or public address may be an interface's.
            Class::Public | Class::Private if is_own(ip) || translated.is_some_and(is_own) => Class::Own,
            class => class,
        }
    }

    fn is_itself(&self, ip: IpAddr, port: u16, class: Class) -> bool {
        let local = matches!(class, Class::Loopback | Class::Unspecified | Class::Own);
        let is = |own: &SocketAddr| own.port() == port && (own.ip() == ip || local && own.ip().is_unspecified());
        // Dialling 0.0.0.0 reaches every listener of this host.
        self.itself
            .iter()
            .any(|own| is(own) || class == Class::Unspecified && own.port() == port)
    }

    /// Connects to the first address that answers, giving each a head start over the next.
    async fn race(&self, mut addresses: VecDeque<IpAddr>, port: u16) -> io::Result<TcpStream> {
        let mut attempts = JoinSet::new();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        loop {
            if let Some(address) = addresses.pop_front() {
                attempts.spawn(self.network.connect((address, port).into()));
            }
            let head_start = if addresses.is_empty() { Duration::MAX } else { STAGGER };
            match timeout(head_start, attempts.join_next()).await {
                Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
                Ok(Some(Ok(Err(error)))) => last = error,
                Ok(None) => return Err(last),
                // A task of ours neither panics nor is aborted; the clock of a head start may run out.
                Ok(Some(Err(_))) | Err(_) => {}
            }
        }
    }
}
