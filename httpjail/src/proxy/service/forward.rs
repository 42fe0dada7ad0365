//! Sends an allowed request upstream and returns its answer.
//!
//! What does not wait is in functions of its own: whatever is alive while an async function waits, and much that is not,
//! makes the future of every request larger.

use crate::policy::Target;
use crate::proxy::http1::headers;
use crate::proxy::limits::Limits;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::client::Client;
use crate::proxy::service::outgoing::{Attempt, Outgoing, Sent};
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::service::response_body::ResponseBody;
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::informational::InformationalListener;
use crate::proxy::upstream::key::PoolKey;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::{Pool, Pooled, Wants};
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::retry::Fate;
use crate::tls::UpstreamFault;
use http::{Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
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
                entry.answered(head.status);
                Response::from_parts(head, ResponseBody::upstream(body, entry, lease, informational, stalled))
            }
            Answer::Upgraded(head, tunnel) => {
                entry.answered(head.status());
                tunnel(entry);
                head.map(|()| ResponseBody::nothing())
            }
        }
    }
}

/// Sends `outgoing`, which means `target`, to the upstream of `key`, and awaits the head of its answer.
pub(crate) async fn forward(
    client: &Client,
    target: &Target,
    key: PoolKey,
    outgoing: &mut Outgoing,
    entry: &mut RequestRecord,
) -> Result<Answer, Refusal> {
    let context = &client.context;
    let mut wants = outgoing.wants(&client.bound);
    let mut unread = false;
    for _ in 0..TRIES {
        let mut pooled = context.pool.connection(&key, wants).await?;
        let (attempt, sending) = outgoing.send(target, &mut pooled, entry.exchange.as_ref())?;
        entry.sent = true;
        let limits = &context.config.limits;
        match answer(&mut pooled.connection, sending, &attempt.informational, entry, limits).await? {
            Ok(response) => return answered(&context.pool, key, pooled, wants, attempt, response),
            Err(error) => unread = recover(&context.pool, &key, &pooled.connection, outgoing, attempt, error)?,
        }
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

/// Waits for an answer for as long as something moves.
async fn answer(
    connection: &mut Connection,
    sending: impl Future<Output = Sent>,
    informational: &InformationalListener,
    entry: &RequestRecord,
    limits: &Limits,
) -> Result<Sent, Refusal> {
    let mut wait = connection.take_clock().wait(limits.response, entry.byte_counts.sent());
    let mut expecting = informational.is_waiting().then(|| Box::pin(sleep(limits.expect)));
    let answer = {
        let mut answer = pin!(sending);
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

/// Takes the head of an answer, unless it is one that no client may get. A connection whose answer is refused dies here.
fn answered(
    pool: &Pool,
    key: PoolKey,
    pooled: Pooled,
    wants: Wants<'_>,
    attempt: Attempt,
    mut response: Response<Incoming>,
) -> Result<Answer, Refusal> {
    // A 101 without a request for it: what follows it is not HTTP, and nothing is to be tunneled (RFC 9110 section
    // 15.2.2).
    if response.status().is_informational() {
        return Err(Refusal::new(
            Kind::Upstream,
            "bad upgrade",
            "The server switched protocols unasked.",
        ));
    }
    attempt.repeat.forget();
    // The client must not be asked for the credentials that another proxy wants from httpjail.
    if let (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(upstream_proxy)) =
        (response.status(), pooled.connection.upstream_proxy())
    {
        return Err(DialError::refused_by(upstream_proxy, response.status(), response.headers()).into());
    }
    vet(&mut response)?;
    if response.status().is_success() {
        attempt.informational.proceed();
    }
    let asks = connection_auth::asks(response.headers());
    let lease = pool.lend(key, pooled, wants, asks);
    Ok(Answer::Response(response, Some(lease), attempt.informational))
}

/// Makes `outgoing` ready for another try after `error`, if there may be one. Returns whether the server said that it has
/// not acted on the request.
fn recover(
    pool: &Pool,
    key: &PoolKey,
    connection: &Connection,
    outgoing: &mut Outgoing,
    attempt: Attempt,
    mut error: TrySendError<Request<RequestBody>>,
) -> Result<bool, Refusal> {
    let fate = Fate::of(error.error());
    let stale = attempt.may_be_stale && connection.received() == attempt.received;
    // It never left: the connection died in the pool.
    if let Some(unsent) = error.take_message() {
        outgoing.take_back(unsent, &attempt);
        return Ok(fate.is_unread());
    }
    if attempt.has_spare && fate.allows_another(stale) {
        if fate == Fate::WantsHttp1 {
            pool.speak_http1(key);
        }
        return match outgoing.rewind(&attempt) {
            true => Ok(fate.is_unread()),
            false if fate.is_unread() => Err(Refusal::unread()),
            false => Err(broken(error.error())),
        };
    }
    tracing::debug!("the server broke off: {:?}", error.error());
    let refusal = match connection.client_cert_requested() && !error.error().is_parse() {
        true => unknown_to_it(),
        false => broken(error.error()),
    };
    Err(match connection.upstream_proxy() {
        Some(upstream_proxy) => refusal.on_the_way(upstream_proxy),
        None => refusal,
    })
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
