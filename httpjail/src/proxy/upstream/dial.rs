//! Connects to a judged host.
//!
//! The host's resolver resolves the judged name here; the address that the client connected to only decides which
//! answer is tried first. Every address is checked right before it is dialed. Where another proxy leads out
//! ([`crate::proxy::upstream::proxy_env`]) that proxy resolves names. Hosts that mean this machine or its link are
//! never passed to it, so they meet the same checks as ever.

use crate::net::{Host, Scheme};
use crate::proxy::io::boxed::BoxedIo;
use crate::proxy::io::permit::PermitIo;
use crate::proxy::io::upgraded::taken_back;
use crate::proxy::limits::Limits;
use crate::proxy::overload::memory::Memory;
use crate::proxy::upstream::address::{self, Class};
use crate::proxy::upstream::error::{DialError, Step};
use crate::proxy::upstream::happy_eyeballs;
use crate::proxy::upstream::http1;
use crate::proxy::upstream::kept::KeptConnections;
use crate::proxy::upstream::key::ConnectTarget;
use crate::proxy::upstream::network::Network;
use crate::proxy::upstream::proxy_env::{ProxyConfig, UpstreamProxy};
use crate::tls::{self, UpstreamFault, UpstreamTls};
use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How many of a name's addresses are tried at most, and how many are looked at.
const TRIED_MAX: usize = 8;
const ANSWERS_MAX: usize = 64;

/// Names that clouds' metadata services go by: what another proxy would find there is not for the jail.
const METADATA: [&str; 4] = [
    "metadata.google.internal",
    "metadata.goog",
    "metadata.tencentyun.com",
    "instance-data.ec2.internal",
];

/// The next hop of a request.
pub(crate) enum Route {
    /// The server itself.
    Direct(BoxedIo),
    /// Another proxy, which needs the whole URL.
    Proxy(BoxedIo, Arc<UpstreamProxy>),
}

/// Opens connections to checked addresses.
pub(crate) struct Connector {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) tls: Arc<UpstreamTls>,
    pub(crate) upstream_proxies: ProxyConfig,
    /// Where the proxy itself listens, in the namespace that it dials from.
    pub(crate) itself: Vec<SocketAddr>,
    pub(crate) limits: Limits,
    /// What makes way where there are too many connections.
    pub(crate) kept: Arc<KeptConnections>,
    pub(crate) memory: Arc<Memory>,
}

impl Connector {
    /// A connection for one cleartext request after the other.
    pub(crate) async fn route(&self, connect_target: ConnectTarget<'_>) -> Result<Route, DialError> {
        match self.upstream_proxy(Scheme::Http, connect_target)? {
            Some(upstream_proxy) => Ok(Route::Proxy(
                self.to_upstream_proxy(&upstream_proxy).await?,
                upstream_proxy,
            )),
            None => Ok(Route::Direct(self.directly(connect_target).await?)),
        }
    }

    /// A connection to the server itself, in a tunnel if another proxy is in between.
    pub(crate) async fn stream(&self, scheme: Scheme, connect_target: ConnectTarget<'_>) -> Result<BoxedIo, DialError> {
        let Some(upstream_proxy) = self.upstream_proxy(scheme, connect_target)? else {
            return self.directly(connect_target).await;
        };
        let stream = self.to_upstream_proxy(&upstream_proxy).await?;
        let tunnel = timeout(
            self.limits.connect,
            self.tunnel(&upstream_proxy, stream, connect_target),
        )
        .await;
        tunnel
            .unwrap_or_else(|_| Err(DialError::TimedOut(upstream_proxy.host.clone(), Step::Tunnel).by(&upstream_proxy)))
    }

    /// TLS on top of `stream`, verified for `host`; and whether the server asked for a client certificate.
    pub(crate) async fn tls(
        &self,
        host: &Host,
        stream: BoxedIo,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<(TlsStream<BoxedIo>, bool), DialError> {
        let refused = |why: String| DialError::Tls(host.clone(), why);
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| refused("not a server name".into()))?,
            Host::V4(address) => ServerName::from(IpAddr::from(*address)),
            Host::V6(address) => ServerName::from(IpAddr::from(*address)),
        };
        let handshake = tls::noticing(TlsConnector::from(config).connect(name, stream));
        match timeout(self.limits.tls, handshake).await {
            Err(_) => Err(DialError::TimedOut(host.clone(), Step::Tls)),
            Ok((Ok(stream), asked)) => Ok((stream, asked)),
            Ok((Err(error), asked)) => Err(refused(match tls::explain_io(&error) {
                // What older servers answer a client without a certificate.
                Some(UpstreamFault::Other(_)) if asked => UpstreamFault::ClientCertificateRequired.to_string(),
                Some(UpstreamFault::Other(why)) => why,
                Some(fault) => fault.to_string(),
                // It hung up, or spoke something else.
                None => error.to_string(),
            })),
        }
    }

    /// The other proxy through which `connect_target` is reached, if there is one. What no proxy elsewhere can reach in
    /// our stead is reached directly, if at all; a literal is checked here, since it is not resolved.
    fn upstream_proxy(
        &self,
        scheme: Scheme,
        connect_target: ConnectTarget<'_>,
    ) -> Result<Option<Arc<UpstreamProxy>>, DialError> {
        let Some(upstream_proxy) = self
            .upstream_proxies
            .towards(scheme, connect_target.host, connect_target.port)
        else {
            return Ok(None);
        };
        let ours = match connect_target.host.ip() {
            Some(address) => !matches!(self.class_of(address), Class::Public | Class::Private),
            None => connect_target
                .host
                .as_name()
                .is_none_or(|name| name == "localhost" || name.ends_with(".localhost") || METADATA.contains(&name)),
        };
        if ours {
            return Ok(None);
        }
        if let Some(address) = connect_target.host.ip() {
            self.permitted(connect_target, vec![address])?;
        }
        Ok(Some(upstream_proxy.clone()))
    }

    async fn directly(&self, connect_target: ConnectTarget<'_>) -> Result<BoxedIo, DialError> {
        let addresses = self.permitted(connect_target, self.resolve(connect_target.host).await?)?;
        let addresses = happy_eyeballs::in_turns(addresses, connect_target.preferred);
        let dialed = self.dial(connect_target.host, addresses, connect_target.port).await?;
        self.check_far_end(connect_target, &dialed)?;
        Ok(Box::new(dialed))
    }

    /// A connection to another proxy: the user named it, so it may be anywhere but here, or where the clients are.
    async fn to_upstream_proxy(&self, upstream_proxy: &Arc<UpstreamProxy>) -> Result<BoxedIo, DialError> {
        let connect = async {
            let host = &upstream_proxy.host;
            let mut addresses = self.resolve(host).await?;
            addresses.retain(|address| {
                let class = self.class_of(*address);
                !self.is_itself(*address, upstream_proxy.port, class) && !self.is_the_clients(class)
            });
            if addresses.is_empty() {
                return Err(DialError::Itself(host.clone()));
            }
            let stream = self
                .dial(host, happy_eyeballs::in_turns(addresses, None), upstream_proxy.port)
                .await?;
            match upstream_proxy.scheme {
                Scheme::Http => Ok(Box::new(stream) as BoxedIo),
                Scheme::Https => {
                    let config = self.tls.config_h1();
                    let config = config.map_err(|error| DialError::Tls(host.clone(), error.to_string()))?;
                    Ok(Box::new(self.tls(host, Box::new(stream), config).await?.0) as BoxedIo)
                }
            }
        };
        connect.await.map_err(|error| error.by(upstream_proxy))
    }

    /// Asks `upstream_proxy` to connect `stream` with `connect_target` (RFC 9110 section 9.3.6).
    async fn tunnel(
        &self,
        upstream_proxy: &Arc<UpstreamProxy>,
        stream: BoxedIo,
        connect_target: ConnectTarget<'_>,
    ) -> Result<BoxedIo, DialError> {
        let broke = |error: io::Error| DialError::Connect(upstream_proxy.host.clone(), error).by(upstream_proxy);
        let authority = format!("{}:{}", connect_target.host, connect_target.port);
        let mut request = Request::connect(&authority).header(header::HOST, &authority);
        if let Some(authorization) = &upstream_proxy.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::<bytes::Bytes>::new());
        let request = request.map_err(|error| broke(io::Error::other(error)))?;
        let (mut sender, connection) = http1::builder(&self.limits)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broke(io::Error::other(error)))?;
        // Ends with the tunnel, or with `sender` if there is none; its errors reach the request.
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| broke(io::Error::other(error)))?;
        if !answer.status().is_success() {
            return Err(DialError::refused_by(upstream_proxy, answer.status(), answer.headers()));
        }
        let tunnel = hyper::upgrade::on(answer).await;
        Ok(taken_back(tunnel.map_err(|error| broke(io::Error::other(error)))?))
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, DialError> {
        let mut addresses = match host.as_name() {
            Some(name) => timeout(self.limits.resolve, self.network.resolve(name))
                .await
                .map_err(|_| DialError::TimedOut(host.clone(), Step::Name))?
                .map_err(|error| DialError::Name(host.clone(), error))?,
            None => host.ip().into_iter().collect(),
        };
        addresses.truncate(ANSWERS_MAX);
        for address in &mut addresses {
            *address = address.to_canonical();
        }
        match addresses.is_empty() {
            true => Err(DialError::NoAddress(host.clone())),
            false => Ok(addresses),
        }
    }

    async fn dial(&self, host: &Host, mut addresses: Vec<IpAddr>, port: u16) -> Result<PermitIo, DialError> {
        addresses.truncate(TRIED_MAX);
        let late = |step| move |_| DialError::TimedOut(host.clone(), step);
        let failed = |error| DialError::Connect(host.clone(), error);
        let permit = timeout(self.limits.connect, self.kept.permit())
            .await
            .map_err(late(Step::Permit))?
            .map_err(|closed| failed(io::Error::other(closed)))?;
        let socket = timeout(
            self.limits.connect,
            happy_eyeballs::connect(self.network.as_ref(), addresses, port),
        )
        .await
        .map_err(late(Step::Connect))?
        .map_err(failed)?;
        // Nagle's algorithm would hold back the last part of each message for the other side's delayed ACK.
        socket.set_nodelay(true).map_err(failed)?;
        let gate = self.memory.gate();
        Ok(PermitIo {
            socket,
            gate,
            _permit: permit,
        })
    }

    /// Returns those of `addresses` that may be dialed.
    fn permitted(&self, connect_target: ConnectTarget<'_>, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, DialError> {
        let mut refusal = DialError::NoAddress(connect_target.host.clone());
        let mut permitted = Vec::new();
        for ip in addresses {
            let class = self.class_of(ip);
            if self.is_itself(ip, connect_target.port, class) {
                refusal = DialError::Itself(connect_target.host.clone());
            } else if class.permits(connect_target.host, ip, connect_target.trust) {
                permitted.push(ip);
            } else {
                refusal = DialError::Address(connect_target.host.clone(), class);
            }
        }
        if permitted.is_empty() {
            Err(refusal)
        } else {
            Ok(permitted)
        }
    }

    /// Refuses a connection that turns out to have both of its ends here, though its address was not known as this
    /// host's: the kernel says so of an address that became local after it was looked at.
    fn check_far_end(&self, connect_target: ConnectTarget<'_>, dialed: &PermitIo) -> Result<(), DialError> {
        let failed = |error| DialError::Connect(connect_target.host.clone(), error);
        let far = dialed.socket.peer_addr().map_err(failed)?.ip().to_canonical();
        let near = dialed.socket.local_addr().map_err(failed)?.ip().to_canonical();
        let outside = matches!(address::classify(far), Class::Public | Class::Private);
        if far == near && outside && !Class::Own.permits(connect_target.host, far, connect_target.trust) {
            return Err(DialError::Address(connect_target.host.clone(), Class::Own));
        }
        Ok(())
    }

    fn class_of(&self, ip: IpAddr) -> Class {
        let is_own = |ip| self.network.is_own(ip);
        let translated = match ip {
            IpAddr::V6(v6) => address::embedded_v4(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        match address::classify(ip) {
            Class::Public | Class::MadeUp if self.network.is_jail() => Class::Public,
            // A private or public address may be this host's.
            Class::Public | Class::Private if is_own(ip) || translated.is_some_and(is_own) => Class::Own,
            class => class,
        }
    }

    /// Whether a client itself may be at an address of this class.
    fn is_the_clients(&self, class: Class) -> bool {
        self.network.is_the_clients() && matches!(class, Class::Loopback | Class::Unspecified | Class::Own)
    }

    fn is_itself(&self, ip: IpAddr, port: u16, class: Class) -> bool {
        let local = matches!(class, Class::Loopback | Class::Unspecified | Class::Own);
        let is = |own: &SocketAddr| own.port() == port && (own.ip() == ip || local && own.ip().is_unspecified());
        // Dialing 0.0.0.0 reaches every listener of this host.
        self.itself
            .iter()
            .any(|own| is(own) || class == Class::Unspecified && own.port() == port)
    }
}
