//! The HTTP service of one connection: it judges each request on its own, then refuses or forwards it.
//!
//! It owns no sockets. What it knows of the connection is fixed when the connection is opened, and it forgets a request
//! when the request ends.

use crate::policy::Target;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::unparsed::raw;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::authorize::authorize;
use crate::proxy::service::client::Client;
use crate::proxy::service::render::{self, Forms};
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::service::response_body::ResponseBody;
use crate::proxy::service::target::ConnectionContext;
use crate::proxy::service::{drain, forward, websocket};
use crate::proxy::upstream::address::AddressTrust;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::key::PoolKey;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::Arc;

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

    /// Answers a request over HTTP/2, which can send it back unread, as its server has done.
    pub(crate) async fn handle_stream(self, request: Request<Incoming>) -> Result<Response<ResponseBody>, h2::Error> {
        let response = self.handle(request).await;
        match response.extensions().get() {
            Some(Unread) => Err(h2::Reason::REFUSED_STREAM.into()),
            None => Ok(response),
        }
    }

    /// Answers a request.
    pub(crate) async fn handle(self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        websocket::translate(&mut request);
        let mut entry = RequestRecord::new(self.client.clone(), request.method(), self.exchange.clone());
        let (target, key) = match self.admit(&request, &mut entry).await {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let (parts, body) = request.into_parts();
                drain::unread_body(&parts, body);
                return refuse(refusal, &parts.method, &Forms::of(&parts.headers), entry).await;
            }
        };
        let (method, accepts) = (request.method().clone(), Forms::of(request.headers()));
        let outcome = match websocket::UpgradeRequest::of(&mut request) {
            // Boxed, for it is rare and its future large.
            Ok(Some(upgrade)) => Box::pin(upgrade.carry_out(&self.client, &target, key, request, self.exchange)).await,
            Ok(None) => forward::forward(&self.client, &target, key, request, &mut entry).await,
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(answer) => {
                self.client.learn_program().await;
                let mut response = answer.into_response(entry, self.client.context.config.limits.stall);
                if self.connection.to.is_from_absolute_form() && response.status() == StatusCode::UNAUTHORIZED {
                    connection_auth::promise(response.headers_mut());
                }
                response
            }
            Err(refusal) => {
                // Where the client's own body was at fault the upstream is not.
                let fault = entry.exchange.as_ref().and_then(|exchange| exchange.body_fault());
                let refusal = fault.map_or(refusal, Refusal::from);
                let unread = (refusal.kind == Kind::Unread).then_some(Unread);
                let mut response = refuse(refusal, &method, &accepts, entry).await;
                unread.and_then(|unread| response.extensions_mut().insert(unread));
                response
            }
        }
    }

    /// Returns what `request` means and where it goes, if it may be forwarded. Nothing is dialed before this returns
    /// `Ok`.
    async fn admit(
        &self,
        request: &Request<Incoming>,
        entry: &mut RequestRecord,
    ) -> Result<(Target, PoolKey), Refusal> {
        if request.method() == Method::CONNECT {
            entry.record.url = request.uri().authority().map(|authority| raw(authority.as_str()));
            return Err(Refusal::new(
                Kind::Unsupported,
                "connect",
                "CONNECT is served in cleartext HTTP/1.1 only, and not inside of another.",
            ));
        }
        let target = self.connection.target_of(request).inspect_err(|_| {
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
        })?;
        let trust = authorize(&self.client.context, &target, entry).await?;
        let key = self.upstream(&target, trust);
        Ok((target, key))
    }
}

/// Answers a request that may not be forwarded, and records that.
pub(crate) async fn refuse(
    refusal: Refusal,
    method: &Method,
    forms: &Forms,
    mut entry: RequestRecord,
) -> Response<ResponseBody> {
    entry.learn_program().await;
    entry.refused(&refusal);
    let url = entry.record.url.as_deref().unwrap_or_default();
    let mut response = render::response(&refusal, method.as_str(), url, entry.record.rule.as_deref(), forms);
    // Over HTTP/2 hyper would send it, and the client would take that for an error of the protocol.
    if *method == Method::HEAD {
        response.body_mut().clear();
    }
    entry.record.status = Some(response.status().as_u16());
    response.map(|text| ResponseBody::own(text, entry))
}
