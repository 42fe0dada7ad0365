//! Serves clients that know of the proxy: requests in absolute form, and CONNECT.
//!
//! In weak mode and for `serve` all clients are such. In a jail it is a program with proxy settings of its own, and it
//! gets this proxy instead of the one in its settings. A request in absolute form is judged by the URL in it. The bytes
//! inside a CONNECT are treated as if the kernel had steered them here: each request in the tunnel is judged like any
//! other, and no tunnel opens whose content the proxy does not read.

use crate::net::{Host, Scheme};
use crate::policy::Target;
use crate::proxy::auth::proxy_auth::AddrPair;
use crate::proxy::authority::{parse_port, split_port};
use crate::proxy::config::Clients;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::unparsed::raw;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::authorize::{authorize, would_refuse};
use crate::proxy::service::client::Client;
use crate::proxy::service::drain;
use crate::proxy::service::proxy_service::{ProxyService, refuse};
use crate::proxy::service::render::Forms;
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::service::response_body::ResponseBody;
use crate::proxy::service::target::{ConnectionContext, Destination};
use crate::sync::lock;
use http::{Method, Request, Response, Version, header};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;

/// A tunnel that a client was promised.
pub(crate) struct Tunnel {
    pub(crate) stream: OnUpgrade,
    pub(crate) to: Destination,
}

/// Where the service leaves a tunnel for the connection that it belongs to.
#[derive(Clone, Default)]
pub(crate) struct PendingTunnel(Arc<Mutex<Option<Tunnel>>>);

impl PendingTunnel {
    pub(crate) fn take(&self) -> Option<Tunnel> {
        lock(&self.0).take()
    }

    fn put(&self, tunnel: Tunnel) {
        *lock(&self.0) = Some(tunnel);
    }
}

/// An authority that a request named, and where it leads.
struct Named {
    authority: String,
    connection: Arc<ConnectionContext>,
}

/// Serves the requests of a connection in cleartext HTTP/1, whatever form they have.
#[derive(Clone)]
pub(crate) struct ForwardProxyService {
    client: Arc<Client>,
    /// Where the connection was steered from; `None` for clients that know of the proxy.
    connection: Option<Arc<ConnectionContext>>,
    /// The authority of the last request in absolute form, and where it led.
    last: Arc<Mutex<Option<Named>>>,
    addrs: AddrPair,
    /// Whether the client runs as this process's own user, once that was looked up: it does not change.
    own: Arc<OnceCell<bool>>,
    pending: PendingTunnel,
    exchange: Arc<ExchangeState>,
}

impl ForwardProxyService {
    pub(crate) fn new(
        client: Arc<Client>,
        connection: Option<Arc<ConnectionContext>>,
        addrs: AddrPair,
        exchange: Arc<ExchangeState>,
    ) -> (ForwardProxyService, PendingTunnel) {
        let pending = PendingTunnel::default();
        let requests = ForwardProxyService {
            client,
            connection,
            last: Arc::default(),
            addrs,
            own: Arc::default(),
            pending: pending.clone(),
            exchange,
        };
        (requests, pending)
    }

    /// Answers a request.
    pub(crate) async fn handle(self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        if let Clients::Explicit(guard) = &self.client.context.config.clients {
            if guard.admits(request.headers(), self.addrs, &self.own).await {
                self.client.registration.note_token();
            } else {
                let detail = "This proxy needs its token as the password.";
                let refusal = Refusal::new(Kind::Unauthenticated, "proxy authentication", detail);
                return self.refuse(refusal, request).await;
            }
        }
        if request.method() == Method::CONNECT {
            let to = match tunnel_of(&request) {
                Ok((host, port)) => Destination::tunneled(&*self.client.context.config.names, host, port),
                Err(refusal) => return self.refuse(refusal, request).await,
            };
            if let Some(response) = self.refuse_early(&to, &request).await {
                return response;
            }
            self.pending.put(Tunnel {
                stream: hyper::upgrade::on(&mut request),
                to,
            });
            return Response::new(ResponseBody::nothing());
        }
        match self.connection_context(&request) {
            Ok(connection) => {
                let requests = ProxyService {
                    client: self.client,
                    connection,
                    exchange: Some(self.exchange),
                };
                requests.handle(request).await
            }
            Err(refusal) => self.refuse(refusal, request).await,
        }
    }

    /// Returns where a request goes: to the URL in it, or where its connection went.
    fn connection_context(&self, request: &Request<Incoming>) -> Result<Arc<ConnectionContext>, Refusal> {
        let uri = request.uri();
        match (uri.scheme_str(), uri.authority(), &self.connection) {
            (Some("http"), Some(authority), _) => {
                if let Some(last) = &*lock(&self.last)
                    && last.authority == authority.as_str()
                {
                    return Ok(last.connection.clone());
                }
                let (host, port) = split_port(authority.as_str());
                let to = Destination {
                    host: Host::parse(host).map_err(|error| Refusal::malformed(error.to_string()))?,
                    port: port.map_or(Ok(80), parse_port)?,
                    address: self.connection.as_ref().and_then(|connection| connection.to.address),
                    named: true,
                    tunnel: false,
                };
                let connection = Arc::new(ConnectionContext::new(to, UpstreamProtocol::Http1, None));
                *lock(&self.last) = Some(Named {
                    authority: authority.as_str().to_owned(),
                    connection: connection.clone(),
                });
                Ok(connection)
            }
            (_, _, Some(connection)) => Ok(connection.clone()),
            (Some(_), _, None) => Err(Refusal::malformed(
                "A proxy takes only http URLs; other schemes need CONNECT.",
            )),
            (None, _, None) => Err(Refusal::malformed(
                "This is a proxy: the request's target must be a whole URL.",
            )),
        }
    }

    /// The refusal of a tunnel in which nothing could be allowed. Where TLS is decrypted it is refused inside, request
    /// by request, in words that its client shows; where it is not, this is the last place for words. A tunnel to port
    /// 80 may carry cleartext, whose requests have verdicts of their own: what is in it decides.
    async fn refuse_early(&self, to: &Destination, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        let context = &self.client.context;
        if context.config.intercept_tls || to.port == Scheme::Http.default_port() {
            return None;
        }
        let authority = format!("{}:{}", to.host, to.port);
        let target = Target::new(&Method::CONNECT, Scheme::Https, &authority, "/").ok()?;
        if !would_refuse(context, &target) {
            return None;
        }
        let mut entry = RequestRecord::new(self.client.clone(), request.method(), Some(self.exchange.clone()));
        let refusal = authorize(context, &target, &mut entry).await.err()?;
        Some(refuse(refusal, request.method(), &Forms::of(request.headers()), entry).await)
    }

    async fn refuse(self, refusal: Refusal, request: Request<Incoming>) -> Response<ResponseBody> {
        let mut entry = RequestRecord::new(self.client, request.method(), Some(self.exchange));
        entry.record.url = Some(raw(&request.uri().to_string()));
        let (head, body) = request.into_parts();
        drain::unread_body(&head, body);
        refuse(refusal, &head.method, &Forms::of(&head.headers), entry).await
    }
}

/// Where a CONNECT wants to go: authority-form with a port (RFC 9112 section 3.2.3), nothing that a body could hide in,
/// and a Host field that says nothing else. Some clients leave the port out of that field.
fn tunnel_of(request: &Request<Incoming>) -> Result<(Host, u16), Refusal> {
    let uri = request.uri();
    let (Some(authority), None, None) = (uri.authority(), uri.scheme(), uri.path_and_query()) else {
        return Err(Refusal::malformed("A CONNECT names only a host and a port."));
    };
    let place = |authority: &str, port: Option<u16>| {
        let (host, named) = split_port(authority);
        let port = named.map_or(Ok(port), |text| parse_port(text).map(Some))?;
        let host = Host::parse(host).map_err(|error| Refusal::malformed(error.to_string()))?;
        Ok::<_, Refusal>((host, port.ok_or_else(|| Refusal::malformed("A CONNECT names a port."))?))
    };
    let (host, port) = place(authority.as_str(), None)?;
    let mut fields = request.headers().get_all(header::HOST).iter();
    match (fields.next(), fields.next()) {
        (None, _) if request.version() < Version::HTTP_11 => {}
        (Some(field), None) => {
            let field = field
                .to_str()
                .map_err(|_| Refusal::malformed("The Host field is not ASCII."))?;
            if place(field, Some(port))? != (host.clone(), port) {
                return Err(Refusal::mismatch(
                    "The CONNECT and its Host field name different places.",
                ));
            }
        }
        _ => return Err(Refusal::malformed("A CONNECT has one Host field.")),
    }
    if !request.body().is_end_stream() || request.headers().contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::malformed("A CONNECT cannot have a body."));
    }
    Ok((host, port))
}
