//! Sends an allowed request upstream and returns its answer.
//!
//! The upstream request is written from the [`Target`], byte for byte what was judged, never from the client's head.

use crate::policy::Target;
use crate::proxy::http1::headers;
use crate::proxy::limits::Limits;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::client::Client;
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::service::response_body::ResponseBody;
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::informational::InformationalListener;
use crate::proxy::upstream::key::PoolKey;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::{Pooled, Wants};
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::retry::Fate;
use crate::tls::UpstreamFault;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How often a request is tried on connections that turn out to be closed.
const TRIES: usize = 3;

/// What came back from the upstream.
pub(crate) enum Answer {
    /// A response, its body still on its way.
    Response(Response<Incoming>, Option<Lease>, Arc<InformationalListener>),
    /// The head of an upgrade; a tunnel carries on and records its end.
    Upgraded(Response<()>, Box<dyn FnOnce(RequestRecord) + Send>),
}

impl Answer {
    /// Returns the answer as the client gets it; a body in which nothing moves for `stalled` ends.
    pub(crate) fn into_response(self, mut entry: RequestRecord, stalled: Duration) -> Response<ResponseBody> {
        match self {
            Answer::Response(response, lease, informational) => {
                let (mut head, body) = response.into_parts();
                headers::clean_response(&mut head.headers);
                if head.status == StatusCode::NO_CONTENT {
                    // It is not to be there (RFC 9110 section 8.6), and clients of HTTP/2 wait for what it says.
                    head.headers.remove(header::CONTENT_LENGTH);
                }
                head.version = Version::HTTP_11;
                entry.record.status = Some(head.status.as_u16());
                Response::from_parts(head, ResponseBody::upstream(body, entry, lease, informational, stalled))
            }
            Answer::Upgraded(head, tunnel) => {
                entry.record.status = Some(head.status().as_u16());
                tunnel(entry);
                head.map(|()| ResponseBody::nothing())
            }
        }
    }
}

/// Sends `request`, which means `target`, to the upstream of `key`, and awaits the head of its answer.
pub(crate) async fn forward(
    client: &Client,
    target: &Target,
    key: PoolKey,
    request: Request<Incoming>,
    entry: &mut RequestRecord,
) -> Result<Answer, Refusal> {
    let context = &client.context;
    let (head, body) = request.into_parts();
    let exchange = entry.exchange.clone();
    let expects = exchange.is_some()
        && head.version == Version::HTTP_11
        && !body.is_end_stream()
        && headers::expects(&head.headers);
    // Among them is how hyper remembers the spelling of the names.
    let (mut fields, mut spelling) = (head.headers, head.extensions);
    let length = match body.is_end_stream() {
        true => says_its_length(target.method(), &fields).then_some(0),
        false => body.size_hint().exact(),
    };
    headers::clean_request(&mut fields, length);
    let (empty, idempotent) = (body.is_end_stream(), target.method().is_idempotent());
    let mut body = RequestBody::new(body, entry.byte_counts.clone());
    let mut wants = Wants {
        bound: &client.bound,
        proves: connection_auth::proves(&fields),
        http2: head.version == Version::HTTP_2 && headers::is_grpc(&fields),
        serial: head.version != Version::HTTP_2,
        fresh: false,
    };
    let mut unread = false;
    for _ in 0..TRIES {
        let Pooled {
            mut connection,
            reused,
            turn,
        } = context.pool.connection(&key, wants).await?;
        let http2 = connection.is_http2();
        let spare = (http2 || empty && reused).then(|| fields.clone());
        let repeat = body.repeat(http2);
        let mut request = write_head(target, fields, http2)?.map(|()| body);
        if !http2 {
            *request.extensions_mut() = match spare {
                Some(_) => spelling.clone(),
                None => std::mem::take(&mut spelling),
            };
        }
        let go = frame(&mut request, http2, expects);
        let informational = InformationalListener::on(&mut request, exchange.as_ref(), go);
        let received = connection.received();
        entry.sent = true;
        let mut error = match answer(&mut connection, request, &informational, entry, &context.config.limits).await? {
            // A 101 without a request for it: what follows it is not HTTP, and nothing is to be tunneled (RFC 9110
            // section 15.2.2). The connection dies with `connection`.
            Ok(response) if response.status().is_informational() => {
                return Err(Refusal::new(
                    Kind::Upstream,
                    "bad upgrade",
                    "The server switched protocols unasked.",
                ));
            }
            Ok(mut response) => {
                repeat.forget();
                // The client must not be asked for the credentials that another proxy wants from httpjail.
                if let (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(upstream_proxy)) =
                    (response.status(), connection.upstream_proxy())
                {
                    return Err(DialError::refused_by(upstream_proxy, response.status(), response.headers()).into());
                }
                // A connection whose answer is refused dies with `connection`.
                vet(&mut response)?;
                if response.status().is_success() {
                    informational.proceed();
                }
                let asks = connection_auth::asks(response.headers());
                let pooled = Pooled {
                    connection,
                    reused,
                    turn,
                };
                let lease = context.pool.lend(key, pooled, wants, asks);
                return Ok(Answer::Response(response, Some(lease), informational));
            }
            Err(error) => error,
        };
        let fate = Fate::of(error.error());
        let stale = reused && idempotent && connection.received() == received;
        unread = fate.is_unread();
        (fields, body) = match (error.take_message(), spare) {
            // It never left: the connection died in the pool.
            (Some(unsent), _) => {
                let (mut head, body) = unsent.into_parts();
                headers::clean_request(&mut head.headers, length);
                if !http2 {
                    spelling = head.extensions;
                }
                (head.headers, body)
            }
            (None, Some(spare)) if fate.allows_another(stale) => {
                if fate == Fate::WantsHttp1 {
                    context.pool.speak_http1(&key);
                }
                match repeat.upload(&entry.byte_counts) {
                    Some(body) => (spare, body),
                    None if unread => return Err(Refusal::unread()),
                    None => return Err(broken(error.error())),
                }
            }
            (None, _) => {
                tracing::debug!("the server broke off: {:?}", error.error());
                let refusal = match connection.client_cert_requested() && !error.error().is_parse() {
                    true => unknown_to_it(),
                    false => broken(error.error()),
                };
                return Err(match connection.upstream_proxy() {
                    Some(upstream_proxy) => refusal.on_the_way(upstream_proxy),
                    None => refusal,
                });
            }
        };
        wants.fresh = true;
    }
    Err(match unread {
        true => Refusal::unread(),
        false => Refusal::new(
            Kind::Upstream,
            "upstream broke off",
            "The server closes every connection.",
        ),
    })
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

/// Sends `request` and waits for its answer for as long as something moves.
async fn answer(
    connection: &mut Connection,
    request: Request<RequestBody>,
    informational: &InformationalListener,
    entry: &RequestRecord,
    limits: &Limits,
) -> Result<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Refusal> {
    let mut wait = connection.take_clock().wait(limits.response, entry.byte_counts.sent());
    let mut expecting = informational.is_waiting().then(|| Box::pin(sleep(limits.expect)));
    let answer = {
        let mut answer = pin!(connection.send(request));
        poll_fn(|cx| {
            // A flood that ends in an answer is one, whatever came in one piece.
            if informational.poll_flooded(cx).is_ready() {
                return Poll::Ready(Err(flooded()));
            }
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            if let Some(clock) = &mut expecting
                && clock.as_mut().poll(cx).is_ready()
            {
                expecting = None;
                informational.proceed();
            }
            wait.poll(cx, entry.byte_counts.sent()).map(|()| Err(late()))
        })
        .await
    };
    connection.keep_clock(wait.clock);
    answer
}

/// Returns the head that is sent for `target`.
pub(crate) fn write_head(target: &Target, mut fields: HeaderMap, http2: bool) -> Result<Request<()>, Refusal> {
    let unwritable = || Refusal::malformed("The request cannot be written as it was judged.");
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

/// Refuses an answer that can be read in two ways.
pub(crate) fn vet<B>(response: &mut Response<B>) -> Result<(), Refusal> {
    headers::vet_response(response.headers_mut()).map_err(|why| Refusal::new(Kind::Upstream, "bad response", why))
}

pub(crate) fn flooded() -> Refusal {
    let detail = "The server sends too many interim responses.";
    Refusal::new(Kind::Upstream, "bad response", detail)
}

pub(crate) fn late() -> Refusal {
    Refusal::new(Kind::TimedOut, "timed out", "The server did not answer in time.")
}

/// A server of TLS 1.3 asks for a client certificate in the handshake, and says only afterwards that it needs one, if
/// at all.
fn unknown_to_it() -> Refusal {
    let fault = UpstreamFault::ClientCertificateRequired;
    Refusal::new(Kind::Upstream, "client certificate", format!("It broke off: {fault}."))
}

/// Returns a refusal that says how the upstream failed once it was connected.
pub(crate) fn broken(error: &hyper::Error) -> Refusal {
    let mut detail = format!("The server did not give a proper answer: {error}");
    // A TLS 1.3 server says only now that it wants a client's certificate.
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if let Some(fault) = source.and_then(crate::tls::explain_io) {
        detail = fault.to_string();
    }
    Refusal::new(Kind::Upstream, "upstream broke off", format!("{detail}."))
}
