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
use crate::proxy::http1::exchange::{ExchangeState, Switch};
use crate::proxy::http1::unparsed::DefaultOrigin;
use crate::proxy::refusal::Refusal;
use crate::proxy::service::client::Client;
use crate::proxy::service::render::{self, Forms};
use crate::proxy::service::response_body::ResponseBody;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

/// A service whose requests come through a [`FramingIo`].
pub(crate) struct GatedService<F> {
    service: F,
    client: Arc<Client>,
    exchange: Arc<ExchangeState>,
}

/// Returns the stream below hyper and the service above it, for a connection to `default_origin`.
pub(crate) fn pair<S, F>(
    client: &Arc<Client>,
    default_origin: DefaultOrigin,
    exchange: &Arc<ExchangeState>,
    stream: S,
    service: F,
) -> (FramingIo<S>, GatedService<F>) {
    let stream = FramingIo::new(stream, default_origin, exchange.clone(), client);
    let service = GatedService {
        service,
        client: client.clone(),
        exchange: exchange.clone(),
    };
    (stream, service)
}

impl<F> Service<Request<Incoming>> for GatedService<F>
where
    F: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible>,
    F::Future: Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let exchange = self.exchange.clone();
        // Begun before hyper reads on, and until the answer's body has gone.
        let in_flight = exchange.begin();
        if request.method().as_str() == REFUSED {
            let client = self.client.clone();
            return Box::pin(
                async move { Ok(refuse(&client, &exchange).await.map(|body| body.until_gone(in_flight))) },
            );
        }
        exchange.informational.open(request.version());
        let connect = request.method() == Method::CONNECT;
        let answered = self.service.call(request);
        // Boxed, so that a connection without a request does not hold room for a future of several kilobytes.
        Box::pin(async move {
            let Ok(response) = answered.await;
            exchange.informational.close();
            let status = response.status();
            let tunnel = status == StatusCode::SWITCHING_PROTOCOLS || connect && status.is_success();
            exchange.decide(if tunnel { Switch::Tunnel } else { Switch::Ordinary });
            Ok(response.map(|body| body.until_gone(in_flight)))
        })
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
        &Forms::default(),
    );
    client.refused_with(response.status(), fault.reason(), request).await;
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(ResponseBody::words)
}
