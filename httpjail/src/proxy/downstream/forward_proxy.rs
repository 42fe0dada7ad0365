//! Serves clients that know of the proxy: requests in absolute form, and CONNECT.
//!
//! In weak mode and for `serve` all clients are such. In a jail it is a program with proxy settings of its own, and it
//! gets this proxy instead of the one in its settings. A request in absolute form is judged by the URL in it. The bytes
//! inside a CONNECT are treated as if the kernel had steered them here: each request in the tunnel is judged like any
//! other, and no tunnel opens whose content the proxy does not read.

use crate::net::{Host, Scheme};
use crate::policy::Target;
use crate::proxy::auth::proxy_auth::{AddrPair, is_own};
use crate::proxy::authority::{parse_port, split_port};
use crate::proxy::config::Clients;
use crate::proxy::downstream::http1_gate::Answers;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::unparsed::raw;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::authorize::{authorize, would_refuse};
use crate::proxy::service::client::Client;
use crate::proxy::service::drain;
use crate::proxy::service::proxy_service::{Pending, ProxyService, refuse};
use crate::proxy::service::render::Form;
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
pub(crate) struct ForwardProxyService(Arc<Shared>);

/// What all requests of such a connection share.
struct Shared {
    client: Arc<Client>,
    /// Where the connection was steered from; `None` for clients that know of the proxy.
    connection: Option<Arc<ConnectionContext>>,
    /// The authority of the last request in absolute form, and where it led.
    last: Mutex<Option<Named>>,
    addrs: AddrPair,
    /// Whether the client runs as this process's own user, once that was looked up: it does not change.
    own: OnceCell<bool>,
    pending: PendingTunnel,
    exchange: Arc<ExchangeState>,
}

impl Answers for ForwardProxyService {
    fn answer(&self, request: Request<Incoming>) -> Pending {
        let Shared { client, addrs, own, .. } = &*self.0;
        let Clients::Explicit(guard) = &client.context.config.clients else {
            return self.answer_admitted(request);
        };
        match guard.admits(request.headers(), own) {
            Some(admits) => self.answer_if(admits, request),
            None => {
                let (requests, addrs) = (self.clone(), *addrs);
                Box::pin(async move {
                    let admits = is_own(addrs, &requests.0.own).await;
                    requests.answer_if(admits, request).await
                })
            }
        }
    }
}

impl ForwardProxyService {
    pub(crate) fn new(
        client: Arc<Client>,
        connection: Option<Arc<ConnectionContext>>,
        addrs: AddrPair,
        exchange: Arc<ExchangeState>,
    ) -> (ForwardProxyService, PendingTunnel) {
        let pending = PendingTunnel::default();
        let shared = Shared {
            client,
            connection,
            last: Mutex::default(),
            addrs,
            own: OnceCell::new(),
            pending: pending.clone(),
            exchange,
        };
        (ForwardProxyService(Arc::new(shared)), pending)
    }

    /// Answers a request of a client that may use the proxy only if it is admitted.
    fn answer_if(&self, admits: bool, request: Request<Incoming>) -> Pending {
        if admits {
            self.0.client.registration.note_token();
            return self.answer_admitted(request);
        }
        let detail = "This proxy needs its token as the password.";
        let refusal = Refusal::new(Kind::Unauthenticated, "proxy authentication", detail);
        self.refuse(refusal, request)
    }

    /// Answers a request of a client that may use the proxy.
    fn answer_admitted(&self, request: Request<Incoming>) -> Pending {
        if request.method() == Method::CONNECT {
            let requests = self.clone();
            return Box::pin(async move { requests.connect(request).await });
        }
        match self.connection_context(&request) {
            Ok(connection) => ProxyService {
                client: self.0.client.clone(),
                connection,
                exchange: Some(self.0.exchange.clone()),
            }
            .answer(request),
            Err(refusal) => self.refuse(refusal, request),
        }
    }

    /// Grants a tunnel, which waits for the connection's next owner.
    async fn connect(&self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        let to = match tunnel_of(&request) {
            Ok((host, port)) => Destination::tunneled(&*self.0.client.context.config.names, host, port),
            Err(refusal) => return self.refuse(refusal, request).await,
        };
        if let Some(response) = self.refuse_early(&to, &request).await {
            return response;
        }
        self.0.pending.put(Tunnel {
            stream: hyper::upgrade::on(&mut request),
            to,
        });
        Response::new(ResponseBody::nothing())
    }

    /// Returns where a request goes: to the URL in it, or where its connection went.
    fn connection_context(&self, request: &Request<Incoming>) -> Result<Arc<ConnectionContext>, Refusal> {
        let uri = request.uri();
        match (uri.scheme_str(), uri.authority(), &self.0.connection) {
            (Some("http"), Some(authority), _) => {
                if let Some(last) = &*lock(&self.0.last)
                    && last.authority == authority.as_str()
                {
                    return Ok(last.connection.clone());
                }
                let (host, port) = split_port(authority.as_str());
                let to = Destination {
                    host: Host::parse(host).map_err(|error| Refusal::malformed(error.to_string()))?,
                    port: port.map_or(Ok(80), parse_port)?,
                    address: self.0.connection.as_ref().and_then(|connection| connection.to.address),
                    named: true,
                    tunnel: false,
                };
                let connection = Arc::new(ConnectionContext::new(to, UpstreamProtocol::Http1, None));
                *lock(&self.0.last) = Some(Named {
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
        let context = &self.0.client.context;
        if context.config.intercept_tls || to.port == Scheme::Http.default_port() {
            return None;
        }
        let authority = format!("{}:{}", to.host, to.port);
        let target = Target::new(&Method::CONNECT, Scheme::Https, &authority, "/").ok()?;
        if !would_refuse(context, &target) {
            return None;
        }
        let mut entry = RequestRecord::new(self.0.client.clone(), request.method(), Some(self.0.exchange.clone()));
        let refusal = authorize(context, &target, &mut entry).await.err()?;
        Some(refuse(refusal, request.method(), Form::of(request.headers()), entry).await)
    }

    fn refuse(&self, refusal: Refusal, request: Request<Incoming>) -> Pending {
        let Shared { client, exchange, .. } = &*self.0;
        let mut entry = RequestRecord::new(client.clone(), request.method(), Some(exchange.clone()));
        entry.record.url = Some(raw(&request.uri().to_string()));
        let (head, body) = request.into_parts();
        drain::unread_body(&head, body);
        Box::pin(async move { refuse(refusal, &head.method, Form::of(&head.headers), entry).await })
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
