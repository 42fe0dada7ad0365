//! WebSocket (RFC 6455), the only upgrade that the proxy supports.
//!
//! Over HTTP/1.1 it begins with a GET. Over HTTP/2 it begins with an extended CONNECT (RFC 8441), which is translated
//! to that GET and judged as it. A client's request alone opens no tunnel: the upstream must answer 101 for a WebSocket
//! with the hash of the key that it was sent. Proxies that trusted the request alone were made to carry arbitrary bytes
//! (docs/threat-model.md H12).

use crate::policy::Target;
use crate::proxy::context::Context;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::headers;
use crate::proxy::io::pipes::Pipes;
use crate::proxy::io::tunnel::relay;
use crate::proxy::io::upgraded::taken_back;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::client::Client;
use crate::proxy::service::forward;
use crate::proxy::service::forward::Answer;
use crate::proxy::service::outgoing;
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::upstream::connection_auth;
use crate::proxy::upstream::informational::InformationalListener;
use crate::proxy::upstream::key::PoolKey;
use crate::proxy::upstream::pool::Wants;
use crate::proxy::upstream::request_body::RequestBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use ring::rand::{SecureRandom, SystemRandom};
use std::future::poll_fn;
use std::sync::Arc;
use tokio::time::timeout;

/// A valid request for a WebSocket. Any other upgrade of HTTP/1.1 is forwarded as the plain request that it also is.
pub(crate) struct UpgradeRequest {
    client: OnUpgrade,
    /// What the upstream is sent: the client's own key, or one of ours for a client of HTTP/2, which has none.
    key: HeaderValue,
    extended: bool,
}

/// Marks a request that came as an extended CONNECT.
#[derive(Clone, Copy)]
struct Extended;

/// Makes an extended CONNECT for a WebSocket the GET that it stands for. Every other CONNECT stays one.
pub(crate) fn translate(request: &mut Request<Incoming>) {
    let protocol = request.extensions().get::<Protocol>();
    if *request.method() == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket") {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(Extended);
    }
}

impl UpgradeRequest {
    pub(crate) fn of(request: &mut Request<Incoming>) -> Result<Option<UpgradeRequest>, Refusal> {
        let extended = request.extensions().get::<Extended>().is_some();
        let fields = request.headers();
        let version = fields.get(header::SEC_WEBSOCKET_VERSION);
        let key = if extended {
            if version.is_none_or(|version| version != "13") {
                return Err(Refusal::malformed("The only supported version of WebSocket is 13."));
            }
            Some(new_key()?)
        } else {
            let proper = version.is_some_and(|version| version == "13")
                && request.version() == Version::HTTP_11
                && request.method() == Method::GET
                && request.body().is_end_stream()
                && headers::names_token(fields, &header::CONNECTION, "upgrade")
                && is_websocket(fields);
            let sixteen = |key: &&HeaderValue| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
            let key = proper.then(|| fields.get(header::SEC_WEBSOCKET_KEY)).flatten();
            key.filter(sixteen).cloned()
        };
        Ok(key.map(|key| UpgradeRequest {
            client: hyper::upgrade::on(request),
            key,
            extended,
        }))
    }

    /// Asks the upstream over HTTP/1.1, on a connection that no other client gets: a new one, or the one of its client.
    pub(crate) async fn carry_out(
        self,
        client: &Client,
        target: &Target,
        key: PoolKey,
        request: Request<Incoming>,
        exchange: Option<Arc<ExchangeState>>,
    ) -> Result<Answer, Refusal> {
        let context = &client.context;
        let head = request.into_parts().0;
        let mut fields = head.headers;
        headers::clean_request(&mut fields, None);
        let mut wants = Wants {
            bound: &client.bound,
            proves: connection_auth::proves(&fields),
            http2: false,
            serial: !self.extended,
            fresh: false,
        };
        fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(header::SEC_WEBSOCKET_KEY, self.key.clone());
        loop {
            let mut request =
                outgoing::write_head(target, fields.clone(), false)?.map(|()| RequestBody::empty(Arc::default()));
            // Among them is how hyper remembers the spelling of the names.
            *request.extensions_mut() = head.extensions.clone();
            let informational = InformationalListener::on(&mut request, exchange.as_ref(), None);
            let mut pooled = context.pool.dedicated(&key, wants).await?;
            let received = pooled.connection.received();
            let answer = tokio::select! {
                answer = timeout(context.config.limits.response, pooled.connection.send(request)) => answer,
                () = poll_fn(|cx| informational.poll_flooded(cx)) => return Err(forward::flooded()),
            };
            let mut response = match answer {
                Ok(Ok(response)) => response,
                // The client's own one had ended before it was asked.
                Ok(Err(_)) if pooled.reused && pooled.connection.received() == received => {
                    wants.fresh = true;
                    continue;
                }
                Ok(Err(error)) => return Err(forward::broken(error.error())),
                Err(_) => return Err(forward::late()),
            };
            return match response.status() {
                StatusCode::SWITCHING_PROTOCOLS => {
                    pooled.connection.is_a_tunnel();
                    self.open(response, context)
                }
                // To an extended CONNECT this would say that the tunnel is open.
                status if self.extended && status.is_success() => Err(bad_upgrade()),
                _ => {
                    forward::vet(&mut response)?;
                    let asks = connection_auth::asks(response.headers());
                    let belongs = asks || wants.proves || pooled.turn.is_some();
                    let lease = belongs.then(|| context.pool.lend(key, pooled, wants, asks));
                    Ok(Answer::Response(response, lease, informational))
                }
            };
        }
    }

    fn open(self, mut response: Response<Incoming>, context: &Context) -> Result<Answer, Refusal> {
        let fields = response.headers();
        let accepted = fields
            .get_all(header::SEC_WEBSOCKET_ACCEPT)
            .iter()
            .eq([accept_for(self.key.as_bytes()).as_str()]);
        if !accepted || !is_websocket(fields) || !headers::names_token(fields, &header::CONNECTION, "upgrade") {
            return Err(bad_upgrade());
        }
        let upstream = hyper::upgrade::on(&mut response);
        let mut head = response.map(drop);
        let fields = head.headers_mut();
        headers::clean_response(fields);
        if self.extended {
            headers::leave_out(fields, &[header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH]);
            *head.status_mut() = StatusCode::OK;
        } else {
            fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let (client, tasks, pipes) = (self.client, context.tasks.clone(), context.pipes.clone());
        Ok(Answer::Upgraded(
            head,
            Box::new(move |entry| tasks.spawn(tunnel(client, upstream, entry, pipes))),
        ))
    }
}

fn bad_upgrade() -> Refusal {
    let detail = "The server switched to something that is not the WebSocket that was asked for.";
    Refusal::new(Kind::Upstream, "bad upgrade", detail)
}

/// A nonce, chosen at random for each handshake (RFC 6455 section 4.1).
fn new_key() -> Result<HeaderValue, Refusal> {
    let mut nonce = [0; 16];
    let random = SystemRandom::new().fill(&mut nonce).ok();
    let key = random.and_then(|()| HeaderValue::try_from(STANDARD.encode(nonce)).ok());
    key.ok_or_else(|| {
        Refusal::new(
            Kind::Upstream,
            "no randomness",
            "The system's random number generator failed.",
        )
    })
}

async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, mut entry: RequestRecord, pipes: Arc<Pipes>) {
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
        return;
    };
    let (mut client, mut upstream) = (taken_back(client), taken_back(upstream));
    let relayed = relay(&mut client, &mut upstream, &entry.byte_counts, Some(&pipes)).await;
    entry.complete = relayed.is_ok();
}

fn is_websocket(fields: &HeaderMap) -> bool {
    let mut values = fields.get_all(header::UPGRADE).iter();
    values
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && values.next().is_none()
}

/// `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2). SHA-1 is what the protocol says; nothing secret hangs on it.
pub(crate) fn accept_for(key: &[u8]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    /// The example of RFC 6455 section 1.3.
    // Proves: H12.
    #[test]
    fn accept() {
        assert_eq!(
            super::accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
