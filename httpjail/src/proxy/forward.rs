//! An approved request's way upstream and its answer's way back.
//!
//! The upstream request is written from the [`Target`], byte for byte what was judged, never from the client's head.

use super::body::{Download, Upload};
use super::client::Entry;
use super::dial::DialError;
use super::headers;
use super::interceptor::{Approved, Interceptor};
use super::pool::Lease;
use super::refusal::{Kind, Refusal};
use crate::policy::Target;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

/// How often a request is tried on connections that turn out to be dead before it was sent.
const TRIES: usize = 3;

/// What came back.
pub(super) enum Answer {
    /// A response, its body still on its way.
    Response(Response<Incoming>, Option<Lease>),
    /// The head of an upgrade; a tunnel carries on and records its end.
    Upgraded(Response<()>, Box<dyn FnOnce(Entry) + Send>),
}

impl Answer {
    pub(super) fn into_response(self, mut entry: Entry) -> Response<Download> {
        match self {
            Answer::Response(response, lease) => {
                let (mut head, body) = response.into_parts();
                headers::clean_response(&mut head.headers);
                head.version = Version::HTTP_11;
                entry.record.status = Some(head.status.as_u16());
                Response::from_parts(head, Download::upstream(body, entry, lease))
            }
            Answer::Upgraded(head, tunnel) => {
                entry.record.status = Some(head.status().as_u16());
                tunnel(entry);
                head.map(|()| Download::nothing())
            }
        }
    }
}

/// Sends `request`, as approved, and awaits the head of its answer.
pub(super) async fn forward(
    via: &Interceptor,
    approved: Approved,
    request: Request<Incoming>,
    entry: &mut Entry,
) -> Result<Answer, Refusal> {
    let proxy = &via.client.proxy;
    let Approved { target, vouch } = approved;
    let key = via.upstream(&target, vouch);
    let (head, body) = request.into_parts();
    let mut fields = head.headers;
    headers::clean_request(&mut fields);
    // Only what has no body and no effect may be sent twice (RFC 9110 section 9.2.2).
    let replayable = body.is_end_stream() && target.method().is_idempotent();
    let mut body = Upload::new(body, entry.sent.clone());
    let mut fresh = false;
    for _ in 0..TRIES {
        let (mut connection, reused) = proxy.pool.connection(&key, fresh).await?;
        let spare = (reused && replayable).then(|| fields.clone());
        let request = write_head(&target, fields, connection.is_http2())?.map(|()| body);
        let answer = match timeout(proxy.config.limits.response, connection.send(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                return Err(Refusal::new(
                    Kind::TimedOut,
                    "timed out",
                    "The server did not answer in time.",
                ));
            }
        };
        let mut error = match answer {
            // A 101 that nobody asked for: what follows it is not HTTP, and nothing is to be tunnelled (RFC 9110 section
            // 15.2.2). The connection dies with `connection`.
            Ok(response) if response.status().is_informational() => {
                return Err(Refusal::new(
                    Kind::Upstream,
                    "bad upgrade",
                    "The server switched protocols unasked.",
                ));
            }
            // The client is not to be asked for what another proxy wants of us.
            Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => match connection.parent()
            {
                Some(parent) => return Err(DialError::ParentSays(parent.clone(), response.status()).into()),
                None => return Ok(Answer::Response(response, proxy.pool.give_back(key, connection))),
            },
            Ok(response) => return Ok(Answer::Response(response, proxy.pool.give_back(key, connection))),
            Err(error) => error,
        };
        (fields, body) = match (error.take_message(), spare) {
            // It never left: the connection died in the pool.
            (Some(unsent), _) => {
                let (head, body) = unsent.into_parts();
                (head.headers, body)
            }
            (None, Some(spare)) => (spare, Upload::empty()),
            (None, None) => {
                let refusal = broken(error.error());
                return Err(match connection.parent() {
                    Some(parent) => refusal.on_the_way(parent),
                    None => refusal,
                });
            }
        };
        fresh = true;
    }
    Err(Refusal::new(
        Kind::Upstream,
        "upstream broke off",
        "The server closes every connection.",
    ))
}

/// The head that is sent for `target`.
pub(super) fn write_head(target: &Target, mut fields: HeaderMap, http2: bool) -> Result<Request<()>, Refusal> {
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
    } else {
        fields.insert(
            header::HOST,
            HeaderValue::from_str(target.authority()).map_err(|_| unwritable())?,
        );
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::clone(target.method());
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| unwritable())?;
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    *request.headers_mut() = fields;
    Ok(request)
}

/// A refusal that says how the upstream failed once it was connected.
pub(super) fn broken(error: &hyper::Error) -> Refusal {
    let mut detail = format!("The server did not give a proper answer: {error}");
    // A TLS 1.3 server says only now that it wants a client's certificate.
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if let Some(fault) = source.and_then(crate::tls::explain_io) {
        detail = fault.to_string();
    }
    Refusal::new(Kind::Upstream, "upstream broke off", format!("{detail}."))
}
