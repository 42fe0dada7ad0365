//! A request on its way upstream: what each try sends, and what is kept for the next.
//!
//! The upstream request is written from the [`Target`], byte for byte what was judged, never from the client's head.

use crate::policy::Target;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::headers;
use crate::proxy::io::byte_counts::ByteCounts;
use crate::proxy::refusal::Refusal;
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::upstream::client_connections::ClientConnections;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::informational::InformationalListener;
use crate::proxy::upstream::pool::{Pooled, Wants};
use crate::proxy::upstream::request_body::{Repeat, RequestBody};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What became of a request that was sent.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A request on its way upstream.
pub(crate) struct Outgoing {
    /// The head's fields: of the next try, or kept for one after it.
    fields: HeaderMap,
    /// How hyper remembers the spelling of their names.
    spelling: Extensions,
    /// Nothing while it is on its way.
    body: Option<RequestBody>,
    byte_counts: Arc<ByteCounts>,
    length: Option<u64>,
    empty: bool,
    idempotent: bool,
    /// Whether the client waits to be asked for the body.
    expects: bool,
    proves: bool,
    serial: bool,
    grpc: bool,
}

/// One try to send a request.
pub(crate) struct Attempt {
    pub(crate) informational: Arc<InformationalListener>,
    pub(crate) repeat: Repeat,
    /// Whether the fields were kept.
    pub(crate) has_spare: bool,
    /// Whether the server may have closed the connection before the request came, and whether a second try does no harm
    /// then.
    pub(crate) may_be_stale: bool,
    /// How much the server had sent before.
    pub(crate) received: u64,
    http2: bool,
}

impl Outgoing {
    /// Takes what is sent of `request`, which means `target`.
    pub(crate) fn of(request: Request<Incoming>, target: &Target, entry: &RequestRecord) -> Outgoing {
        let (head, body) = request.into_parts();
        let empty = body.is_end_stream();
        let expects =
            entry.exchange.is_some() && head.version == Version::HTTP_11 && !empty && headers::expects(&head.headers);
        let mut fields = head.headers;
        let length = match empty {
            true => says_its_length(target.method(), &fields).then_some(0),
            false => body.size_hint().exact(),
        };
        headers::clean_request(&mut fields, length);
        Outgoing {
            proves: connection_auth::proves(&fields),
            grpc: head.version == Version::HTTP_2 && headers::is_grpc(&fields),
            serial: head.version != Version::HTTP_2,
            fields,
            spelling: head.extensions,
            body: Some(RequestBody::new(body, entry.byte_counts.clone())),
            byte_counts: entry.byte_counts.clone(),
            length,
            empty,
            idempotent: target.method().is_idempotent(),
            expects,
        }
    }

    /// Returns what it wants of its connection. Those in `bound` belong to its client.
    pub(crate) fn wants<'a>(&self, bound: &'a ClientConnections) -> Wants<'a> {
        Wants {
            bound,
            proves: self.proves,
            http2: self.grpc,
            serial: self.serial,
            fresh: false,
        }
    }

    /// Hands the request to `pooled` at once; the future is about its answer alone.
    pub(crate) fn send(
        &mut self,
        target: &Target,
        pooled: &mut Pooled,
        exchange: Option<&Arc<ExchangeState>>,
    ) -> Result<(Attempt, impl Future<Output = Sent> + use<>), Refusal> {
        let http2 = pooled.connection.is_http2();
        let has_spare = http2 || self.empty && pooled.reused;
        let fields = match has_spare {
            true => self.fields.clone(),
            false => std::mem::take(&mut self.fields),
        };
        let body = self.body.take().ok_or_else(unwritable)?;
        let repeat = body.repeat(http2);
        let mut request = write_head(target, fields, http2)?.map(|()| body);
        if !http2 {
            *request.extensions_mut() = match has_spare {
                true => self.spelling.clone(),
                false => std::mem::take(&mut self.spelling),
            };
        }
        let go = frame(&mut request, http2, self.expects);
        let informational = InformationalListener::on(&mut request, exchange, go);
        let attempt = Attempt {
            informational,
            repeat,
            has_spare,
            may_be_stale: pooled.reused && self.idempotent,
            received: pooled.connection.received(),
            http2,
        };
        Ok((attempt, pooled.connection.send(request)))
    }

    /// Takes back what `attempt` did not send.
    pub(crate) fn take_back(&mut self, unsent: Request<RequestBody>, attempt: &Attempt) {
        let (mut head, body) = unsent.into_parts();
        headers::clean_request(&mut head.headers, self.length);
        self.fields = head.headers;
        if !attempt.http2 {
            self.spelling = head.extensions;
        }
        self.body = Some(body);
    }

    /// Begins again with what was kept when `attempt` was sent; returns false where some of the body was not.
    pub(crate) fn rewind(&mut self, attempt: &Attempt) -> bool {
        self.body = attempt.repeat.upload(&self.byte_counts);
        self.body.is_some()
    }
}

/// Returns whether a request without a body says so: its client did, or its method is one that servers expect a body of
/// (RFC 9110 section 8.6), who answer 411 to one that says nothing.
fn says_its_length(method: &Method, fields: &HeaderMap) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH) || fields.contains_key(header::CONTENT_LENGTH)
}

/// Adds what HTTP/1 needs beside the head. Where the client waits to be asked for its body, so does the upload: returns
/// what starts it. (Over HTTP/2 hyper does not report a `100 Continue`.)
fn frame(request: &mut Request<RequestBody>, http2: bool, expects: bool) -> Option<oneshot::Sender<()>> {
    let mut go = None;
    let mut word = None;
    if !http2 {
        let method = request.method();
        if !request.body().is_end_stream() && (method.is_safe() || *method == Method::DELETE) {
            // Servers that look for no body there take it for the next request. There is none after this one.
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(header::CONNECTION, close);
        }
        if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
            // Unasked, hyper would drop the body of a GET or HEAD (RFC 9110 section 9.3.1 gives it no meaning, and so
            // some servers do).
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
        }
        if expects {
            let expect = HeaderValue::from_static("100-continue");
            request.headers_mut().insert(header::EXPECT, expect);
            let (sender, receiver) = oneshot::channel();
            (go, word) = (Some(sender), Some(receiver));
        }
    }
    request.body_mut().wait_for(word);
    go
}

/// Returns the head that is sent for `target`.
pub(crate) fn write_head(target: &Target, mut fields: HeaderMap, http2: bool) -> Result<Request<()>, Refusal> {
    let path = PathAndQuery::try_from(target.path_and_query()).map_err(|_| unwritable())?;
    if path.as_str() != target.path_and_query() {
        return Err(unwritable());
    }
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path);
    if http2 {
        uri.scheme = Some(match target.scheme() {
            crate::net::Scheme::Http => Scheme::HTTP,
            crate::net::Scheme::Https => Scheme::HTTPS,
        });
        uri.authority = Some(Authority::try_from(target.authority()).map_err(|_| unwritable())?);
        headers::leave_out(&mut fields, &[header::HOST]);
    } else {
        let host = HeaderValue::from_str(target.authority()).map_err(|_| unwritable())?;
        headers::name_host(&mut fields, host);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::clone(target.method());
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| unwritable())?;
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    *request.headers_mut() = fields;
    Ok(request)
}

fn unwritable() -> Refusal {
    Refusal::malformed("The request cannot be written as it was judged.")
}
