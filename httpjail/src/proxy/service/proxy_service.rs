//! The HTTP service of one connection: it judges each request on its own, then refuses or forwards it.
//!
//! It owns no sockets. What it knows of the connection is fixed when the connection is opened, and it forgets a request
//! when the request ends.

use crate::policy::Target;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::unparsed::raw;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::authorize::{Unauthorized, ask, decide};
use crate::proxy::service::client::Client;
use crate::proxy::service::forward::Answer;
use crate::proxy::service::outgoing::Outgoing;
use crate::proxy::service::render::{self, Form};
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::service::response_body::ResponseBody;
use crate::proxy::service::target::ConnectionContext;
use crate::proxy::service::{drain, forward, websocket};
use crate::proxy::upstream::address::AddressTrust;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::key::PoolKey;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;

/// An answer that is being made. It is boxed where it is made: each move of it would cost a copy.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>;

/// Serves the requests of one connection.
#[derive(Clone)]
pub(crate) struct ProxyService {
    pub(crate) client: Arc<Client>,
    pub(crate) connection: Arc<ConnectionContext>,
    /// Over HTTP/1: what the stream below hyper knows of the request that is being answered.
    pub(crate) exchange: Option<Arc<ExchangeState>>,
}

/// Marks the answer to a request that the server has sent back unread.
#[derive(Clone, Copy)]
struct Unread;

impl ProxyService {
    /// Returns the pool's key for a request that may be forwarded.
    fn upstream(&self, target: &Target, trust: AddressTrust) -> PoolKey {
        PoolKey {
            protocol: self.connection.protocol,
            host: target.host().clone(),
            port: target.port(),
            address: self.connection.to.chosen(),
            trust,
        }
    }

    /// Answers a request. What of it needs no waiting is done at once: the verdict, if nobody has to be asked.
    pub(crate) fn answer(&self, mut request: Request<Incoming>) -> Pending {
        websocket::translate(&mut request);
        let mut entry = RequestRecord::new(self.client.clone(), request.method(), self.exchange.clone());
        let target = match self.target_of(&request, &mut entry) {
            Ok(target) => target,
            Err(refusal) => return refuse_unread(refusal, request, entry),
        };
        // Nothing is dialed without its `Ok`.
        match decide(&self.client.context, &target, &mut entry) {
            Ok(trust) => self.go_on(request, target, trust, entry),
            Err(Unauthorized::Refused(refusal)) => refuse_unread(refusal, request, entry),
            Err(Unauthorized::Undecided(approvals)) => {
                let service = self.clone();
                Box::pin(async move {
                    match ask(&approvals, &target, &mut entry).await {
                        Ok(trust) => service.go_on(request, target, trust, entry).await,
                        Err(refusal) => refuse_unread(refusal, request, entry).await,
                    }
                })
            }
        }
    }

    /// Answers a request that may be forwarded.
    fn go_on(
        &self,
        mut request: Request<Incoming>,
        target: Target,
        trust: AddressTrust,
        mut entry: RequestRecord,
    ) -> Pending {
        let (method, form) = (request.method().clone(), Form::of(request.headers()));
        let way = match websocket::UpgradeRequest::of(&mut request) {
            Ok(Some(upgrade)) => Way::Upgrade(Box::new((upgrade, request))),
            Ok(None) => Way::Plain(Outgoing::of(request, &target, &entry)),
            Err(refusal) => return Box::pin(async move { refuse(refusal, &method, form, entry).await }),
        };
        let (service, key) = (self.clone(), self.upstream(&target, trust));
        // Futures that are rare and large are boxed in it.
        Box::pin(async move {
            let client = &service.client;
            let outcome = match way {
                Way::Plain(mut outgoing) => forward::forward(client, &target, key, &mut outgoing, &mut entry).await,
                Way::Upgrade(upgrade) => {
                    let (upgrade, request) = *upgrade;
                    Box::pin(upgrade.carry_out(client, &target, key, request, service.exchange.clone())).await
                }
            };
            match outcome {
                Ok(answer) => {
                    if !client.knows_program() {
                        Box::pin(client.learn_program()).await;
                    }
                    service.finish(answer, entry)
                }
                Err(refusal) => {
                    // Where the client's own body was at fault the upstream is not.
                    let fault = entry.exchange.as_ref().and_then(|exchange| exchange.body_fault());
                    let refusal = fault.map_or(refusal, Refusal::from);
                    let unread = (refusal.kind == Kind::Unread).then_some(Unread);
                    let mut response = Box::pin(refuse(refusal, &method, form, entry)).await;
                    unread.and_then(|unread| response.extensions_mut().insert(unread));
                    response
                }
            }
        })
    }

    fn finish(&self, answer: Answer, entry: RequestRecord) -> Response<ResponseBody> {
        let mut response = answer.into_response(entry, self.client.context.config.limits.stall);
        if self.connection.to.is_from_absolute_form() && response.status() == StatusCode::UNAUTHORIZED {
            connection_auth::promise(response.headers_mut());
        }
        response
    }

    /// Returns what `request` means.
    fn target_of(&self, request: &Request<Incoming>, entry: &mut RequestRecord) -> Result<Target, Refusal> {
        if request.method() == Method::CONNECT {
            entry.record.url = request.uri().authority().map(|authority| raw(authority.as_str()));
            return Err(Refusal::new(
                Kind::Unsupported,
                "connect",
                "CONNECT is served in cleartext HTTP/1.1 only, and not inside of another.",
            ));
        }
        self.connection.target_of(request).inspect_err(|_| {
            let field = request
                .headers()
                .get(http::header::HOST)
                .map(|field| String::from_utf8_lossy(field.as_bytes()));
            let authority = request
                .uri()
                .authority()
                .map(|authority| authority.as_str().into())
                .or(field);
            let path = request.uri().path_and_query().map_or("", |path| path.as_str());
            let scheme = self.connection.scheme().as_str();
            entry.record.url = Some(raw(&format!("{scheme}://{}{path}", authority.unwrap_or_default())));
        })
    }
}

/// How a request goes upstream.
enum Way {
    Plain(Outgoing),
    Upgrade(Box<(websocket::UpgradeRequest, Request<Incoming>)>),
}

/// Returns whether the server has sent the request of this answer back unread: over HTTP/2 so does the proxy.
pub(crate) fn is_unread(response: &Response<ResponseBody>) -> bool {
    response.extensions().get::<Unread>().is_some()
}

/// Refuses a request whose body has not been read.
fn refuse_unread(refusal: Refusal, request: Request<Incoming>, entry: RequestRecord) -> Pending {
    let (head, body) = request.into_parts();
    drain::unread_body(&head, body);
    Box::pin(async move { refuse(refusal, &head.method, Form::of(&head.headers), entry).await })
}

/// Answers a request that may not be forwarded, and records that.
pub(crate) async fn refuse(
    refusal: Refusal,
    method: &Method,
    form: Form,
    mut entry: RequestRecord,
) -> Response<ResponseBody> {
    entry.learn_program().await;
    entry.refused(&refusal);
    let url = entry.record.url.as_deref().unwrap_or_default();
    let mut response = render::response(&refusal, method.as_str(), url, entry.record.rule.as_deref(), form);
    // Over HTTP/2 hyper would send it, and the client would take that for an error of the protocol.
    if *method == Method::HEAD {
        response.body_mut().clear();
    }
    entry.record.status = Some(response.status().as_u16());
    response.map(|text| ResponseBody::own(text, entry))
}
