//! A connection of HTTP/1 to an upstream: it answers one request after the other.

use crate::net::Host;
use crate::proxy::io::deferred_error::{ConnStats, DeferredWriteErrorIo};
use crate::proxy::limits::Limits;
use crate::proxy::upstream::answer_clock::AnswerClock;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::proxy_env::UpstreamProxy;
use crate::proxy::upstream::request_body::RequestBody;
use http::uri::Scheme;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of HTTP/1, to a server or to another proxy that takes whole URLs.
pub(crate) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    pub(crate) upstream_proxy: Option<Arc<UpstreamProxy>>,
    /// Whether the server asked for a client certificate.
    pub(crate) client_cert_requested: bool,
    pub(crate) stats: Arc<ConnStats>,
    pub(crate) answer_clock: AnswerClock,
    /// The thread that reads and writes it.
    pub(crate) thread: ThreadId,
}

impl Http1 {
    /// Begins HTTP/1 in cleartext, with a server or with another proxy.
    pub(crate) async fn plain<S>(
        host: &Host,
        stream: S,
        upstream_proxy: Option<Arc<UpstreamProxy>>,
        limits: &Limits,
    ) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = DeferredWriteErrorIo::to_the_end(stream, limits.stall, false);
        Http1::on(host, stream, upstream_proxy, false, limits).await
    }

    /// Begins HTTP/1 over TLS.
    pub(crate) async fn sealed<S>(
        host: &Host,
        stream: S,
        client_cert_requested: bool,
        limits: &Limits,
    ) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = DeferredWriteErrorIo::to_the_end(stream, limits.stall, true);
        Http1::on(host, stream, None, client_cert_requested, limits).await
    }

    async fn on<S>(
        host: &Host,
        stream: DeferredWriteErrorIo<S>,
        upstream_proxy: Option<Arc<UpstreamProxy>>,
        client_cert_requested: bool,
        limits: &Limits,
    ) -> Result<Http1, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stats = stream.stats();
        let (sender, connection) = builder(limits)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| DialError::broken_off(host, error))?;
        // Its errors reach the request that was on it.
        tokio::spawn(connection.with_upgrades());
        Ok(Http1 {
            sender,
            upstream_proxy,
            client_cert_requested,
            stats,
            answer_clock: AnswerClock::default(),
            thread: thread::current().id(),
        })
    }

    /// Hands `request` over at once; the future is about its answer alone.
    pub(crate) fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        if let Some(upstream_proxy) = &self.upstream_proxy {
            address_to(upstream_proxy, &mut request);
        }
        self.sender.try_send_request(request)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns whether the exchange has ended, and another may follow it.
    pub(crate) fn has_ended(&self) -> bool {
        self.sender.is_ready() && !self.stats.is_cut()
    }

    /// Waits for the end of the exchange, and returns whether another may follow it.
    pub(crate) async fn ended(&mut self) -> bool {
        self.sender.ready().await.is_ok() && self.has_ended()
    }
}

/// Returns how HTTP/1 is spoken to a server.
pub(crate) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits.fields)
        .max_header_size(limits.head)
        .max_buf_size(limits.read_at_once())
        // As the client spells the names. One of HTTP/2 has no capitals; to a server that speaks HTTP/1 alone it would
        // write them if there were no proxy.
        .preserve_header_case(true)
        .title_case_headers(true)
        // A proxy must take it away (RFC 9112 section 5.1).
        .allow_spaces_after_header_name_in_responses(true)
        // A folded field goes on as one line (section 5.2), a line that is no field ends here: none of them frames
        // anything that is passed on, and clients forgive both.
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    builder
}

/// Turns a request to a server into the same request to `upstream_proxy`: with the whole URL as its target (RFC 9112
/// section 3.2.2), and our credentials for that proxy.
fn address_to(upstream_proxy: &UpstreamProxy, request: &mut Request<RequestBody>) {
    let mut parts = request.uri().clone().into_parts();
    let authority = request.headers().get(header::HOST);
    parts.authority = authority.and_then(|host| host.as_bytes().try_into().ok());
    parts.scheme = Some(Scheme::HTTP);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if let Some(authorization) = &upstream_proxy.authorization {
        request
            .headers_mut()
            .insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
}
