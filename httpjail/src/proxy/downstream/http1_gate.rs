//! The gate around hyper's HTTP/1 server: hyper reads only what [`Framing`] accepts.
//!
//! [`FramingIo`] is the stream below hyper, [`GatedService`] the service above it, and [`ExchangeState`] what the two tell each
//! other past hyper. A malformed head never reaches hyper. Instead hyper reads a head of our own with a method that no client
//! can send, and the service answers it with the refusal, so that answers keep their order. A malformed body breaks the body
//! off. Both end the connection. The common case costs one look at each head and a count of each body, and copies nothing that
//! arrives whole.
//!
//! [`Framing`]: crate::proxy::http1::framing::Framing

use crate::proxy::downstream::framing_io::{FramingIo, REFUSED};
use crate::proxy::http1::exchange::{ExchangeState, InFlight, Switch};
use crate::proxy::http1::unparsed::DefaultOrigin;
use crate::proxy::refusal::Refusal;
use crate::proxy::service::client::Client;
use crate::proxy::service::proxy_service::{Pending, ProxyService};
use crate::proxy::service::render::{self, Form};
use crate::proxy::service::response_body::ResponseBody;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What answers the requests of one connection.
pub(crate) trait Answers: Send + Sync {
    /// Answers a request.
    fn answer(&self, request: Request<Incoming>) -> Pending;
}

impl Answers for ProxyService {
    fn answer(&self, request: Request<Incoming>) -> Pending {
        ProxyService::answer(self, request)
    }
}

/// A service whose requests come through a [`FramingIo`].
pub(crate) struct GatedService {
    service: Box<dyn Answers>,
    client: Arc<Client>,
    exchange: Arc<ExchangeState>,
}

/// Returns the stream below hyper and the service above it, for a connection to `default_origin`.
pub(crate) fn pair<S>(
    client: &Arc<Client>,
    default_origin: DefaultOrigin,
    exchange: &Arc<ExchangeState>,
    stream: S,
    service: impl Answers + 'static,
) -> (FramingIo<S>, GatedService) {
    let stream = FramingIo::new(stream, default_origin, exchange.clone(), client);
    let service = GatedService {
        service: Box::new(service),
        client: client.clone(),
        exchange: exchange.clone(),
    };
    (stream, service)
}

impl Service<Request<Incoming>> for GatedService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let exchange = self.exchange.clone();
        // Begun before hyper reads on, and until the answer's body has gone.
        let in_flight = exchange.begin();
        let (answer, asked): (Pending, _) = if request.method().as_str() == REFUSED {
            let client = self.client.clone();
            let exchange = exchange.clone();
            (
                Box::pin(async move { refuse(&client, &exchange).await }),
                Asked::Nothing,
            )
        } else {
            exchange.informational.open(request.version());
            let asked = match *request.method() {
                Method::CONNECT => Asked::Tunnel,
                _ => Asked::Other,
            };
            (self.service.answer(request), asked)
        };
        Answering {
            answer,
            asked,
            exchange,
            in_flight: Some(in_flight),
        }
    }
}

/// The answer to one request, and what the stream below hyper is told when it is there.
pub(crate) struct Answering {
    answer: Pending,
    asked: Asked,
    exchange: Arc<ExchangeState>,
    in_flight: Option<InFlight>,
}

/// What a head asks for.
enum Asked {
    /// It stands for one that was refused.
    Nothing,
    /// A CONNECT.
    Tunnel,
    Other,
}

impl Future for Answering {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let response = ready!(this.answer.as_mut().poll(cx));
        let status = response.status();
        let is_tunnel = match this.asked {
            Asked::Nothing => None,
            Asked::Tunnel => Some(status == StatusCode::SWITCHING_PROTOCOLS || status.is_success()),
            Asked::Other => Some(status == StatusCode::SWITCHING_PROTOCOLS),
        };
        if let Some(is_tunnel) = is_tunnel {
            this.exchange.informational.close();
            let switch = if is_tunnel { Switch::Tunnel } else { Switch::Ordinary };
            this.exchange.decide(switch);
        }
        let in_flight = this.in_flight.take();
        Poll::Ready(Ok(response.map(|body| body.until_gone(in_flight))))
    }
}

async fn refuse(client: &Client, exchange: &ExchangeState) -> Response<ResponseBody> {
    let (fault, request) = exchange.head_fault();
    let (method, url) = (request.method.as_deref(), request.url.as_deref());
    let mut response = render::response(
        &Refusal::from(fault),
        method.unwrap_or_default(),
        url.unwrap_or_default(),
        None,
        Form::default(),
    );
    client.refused_with(response.status(), fault.reason(), request).await;
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(ResponseBody::words)
}
