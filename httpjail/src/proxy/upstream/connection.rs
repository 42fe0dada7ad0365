//! One open upstream connection, HTTP/1 or HTTP/2.
//!
//! HTTP/1 answers one request after the other and goes back to the [`crate::proxy::upstream::pool`] in between. HTTP/2
//! is shared: each request holds a permit of its own.

use crate::proxy::upstream::answer_clock::AnswerClock;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::http2::Stream;
use crate::proxy::upstream::proxy_env::UpstreamProxy;
use crate::proxy::upstream::request_body::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use std::sync::Arc;
use tokio_util::either::Either;

/// A connection ready for one request.
pub(crate) enum Connection {
    Http1(Http1),
    Http2(Stream),
}

impl Connection {
    /// Returns whether the server asked for a client certificate. The proxy has none.
    pub(crate) fn client_cert_requested(&self) -> bool {
        match self {
            Connection::Http1(http1) => http1.client_cert_requested,
            Connection::Http2(stream) => stream.client_cert_requested,
        }
    }

    /// Returns how many bytes the server has sent on it so far.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Connection::Http1(http1) => http1.stats.received(),
            Connection::Http2(stream) => stream.stats.received(),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Connection::Http2(..))
    }

    /// From now on it is not HTTP: a failed write is reported at once.
    pub(crate) fn is_a_tunnel(&self) {
        if let Connection::Http1(http1) = self {
            http1.stats.give_up();
        }
    }

    /// The other proxy that this leads to, where requests are told to that proxy and not only sent through it.
    pub(crate) fn upstream_proxy(&self) -> Option<&Arc<UpstreamProxy>> {
        match self {
            Connection::Http1(http1) => http1.upstream_proxy.as_ref(),
            Connection::Http2(..) => None,
        }
    }

    /// Takes its clock for the time of one wait. Over HTTP/2 each request has one of its own.
    pub(crate) fn take_clock(&mut self) -> AnswerClock {
        match self {
            Connection::Http1(http1) => std::mem::take(&mut http1.answer_clock),
            Connection::Http2(..) => AnswerClock::default(),
        }
    }

    /// Puts the clock back.
    pub(crate) fn keep_clock(&mut self, clock: AnswerClock) {
        if let Connection::Http1(http1) = self {
            http1.answer_clock = clock;
        }
    }

    /// Hands `request` over at once; the future is about its answer alone.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        match self {
            Connection::Http1(http1) => Either::Left(http1.send(request)),
            Connection::Http2(stream) => Either::Right(stream.sender.try_send_request(request)),
        }
    }
}
