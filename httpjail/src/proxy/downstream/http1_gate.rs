//! What stands around hyper's HTTP/1 server: hyper reads only what [`Framing`] lets pass.
//!
//! [`FramingIo`] is the stream below hyper, [`Strictly`] the service above it, [`Aside`] what the two tell each other past
//! hyper. A head with a fault never reaches hyper: it reads a head of our own instead, with a method that no client can
//! send, and the service answers that with the refusal, so that answers keep their order. A fault in a body breaks the
//! body off. Both end the connection. The common case costs one look at each head and a count of each body; nothing is
//! copied that arrives whole.
//!
//! [`Framing`]: crate::proxy::http1::framing::Framing

use crate::proxy::downstream::framing_io::{FramingIo, REFUSED};
use crate::proxy::http1::exchange::{Aside, Switch};
use crate::proxy::http1::unparsed::Way;
use crate::proxy::refusal::Refusal;
use crate::proxy::service::client::Client;
use crate::proxy::service::render;
use crate::proxy::service::response_body::Download;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

/// A service whose requests come through a [`FramingIo`].
pub(crate) struct Strictly<F> {
    service: F,
    client: Arc<Client>,
    aside: Arc<Aside>,
}

/// The two ends of a connection that goes this `way`, for hyper to stand between.
pub(crate) fn pair<S, F>(
    client: &Arc<Client>,
    way: Way,
    stream: S,
    service: F,
) -> (FramingIo<S>, Strictly<F>, Arc<Aside>) {
    let aside = Arc::new(Aside::default());
    let stream = FramingIo::new(stream, way, aside.clone(), client);
    let service = Strictly {
        service,
        client: client.clone(),
        aside: aside.clone(),
    };
    (stream, service, aside)
}

impl<F> Service<Request<Incoming>> for Strictly<F>
where
    F: Service<Request<Incoming>, Response = Response<Download>, Error = Infallible>,
    F::Future: Send + 'static,
{
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Download>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let aside = self.aside.clone();
        // Begun before hyper reads on, and until the answer's body has gone.
        let busy = aside.begin();
        if request.method().as_str() == REFUSED {
            let client = self.client.clone();
            return Box::pin(async move { Ok(refuse(&client, &aside).await.map(|body| body.until_gone(busy))) });
        }
        aside.interims.open(request.version());
        request.extensions_mut().insert(aside.clone());
        let connect = request.method() == Method::CONNECT;
        let answered = self.service.call(request);
        Box::pin(async move {
            let Ok(response) = answered.await;
            aside.interims.close();
            let status = response.status();
            let tunnel = status == StatusCode::SWITCHING_PROTOCOLS || connect && status.is_success();
            aside.decide(if tunnel { Switch::Tunnel } else { Switch::Ordinary });
            Ok(response.map(|body| body.until_gone(busy)))
        })
    }
}

async fn refuse(client: &Client, aside: &Aside) -> Response<Download> {
    let (fault, asked) = aside.head_fault();
    let (method, url) = (asked.method.as_deref(), asked.url.as_deref());
    let mut response = render::response(
        &Refusal::from(fault),
        method.unwrap_or_default(),
        url.unwrap_or_default(),
        None,
        &HeaderMap::new(),
    );
    client.refused_with(response.status(), fault.reason(), asked).await;
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(Download::words)
}
