//! WebSocket over HTTP/1.1 (RFC 6455): the one upgrade there is.
//!
//! What a client asks for opens nothing. A tunnel opens when the upstream has answered 101 for a WebSocket with the hash
//! of the client's own key; proxies that went by the wish alone were made to carry arbitrary bytes (THREATS.md H12).

use super::body::Upload;
use super::client::Entry;
use super::forward::{self, Answer};
use super::headers;
use super::interceptor::{Approved, Interceptor};
use super::pool::Wire;
use super::refusal::{Kind, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

/// A proper wish for a WebSocket. Any other upgrade is forwarded as the plain request that it also is.
pub(super) struct Wish {
    client: OnUpgrade,
    accept: String,
}

impl Wish {
    pub(super) fn of(request: &mut Request<Incoming>) -> Option<Wish> {
        let fields = request.headers();
        let proper = request.version() == Version::HTTP_11
            && request.method() == Method::GET
            && request.body().is_end_stream()
            && headers::names_token(fields, &header::CONNECTION, "upgrade")
            && is_websocket(fields)
            && fields
                .get(header::SEC_WEBSOCKET_VERSION)
                .is_some_and(|version| version == "13");
        let key = fields.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
        let sixteen = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
        let accept = accept_for(key);
        (proper && sixteen).then(|| Wish {
            accept,
            client: hyper::upgrade::on(request),
        })
    }

    /// Asks the upstream, on a connection of its own.
    pub(super) async fn carry_out(
        self,
        via: &Interceptor,
        approved: Approved,
        request: Request<Incoming>,
        _entry: &mut Entry,
    ) -> Result<Answer, Refusal> {
        let proxy = &via.client.proxy;
        let Approved { target, vouch } = approved;
        let key = via.upstream(&target, vouch);
        debug_assert_ne!(key.wire, Wire::Http2, "a wish needs HTTP/1.1");
        let mut fields = request.into_parts().0.headers;
        headers::clean_request(&mut fields);
        fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let head = forward::write_head(&target, fields, false)?;
        let mut sender = proxy.pool.dedicated(&key).await?;
        let answer = timeout(
            proxy.config.limits.response,
            sender.send_request(head.map(|()| Upload::empty())),
        )
        .await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(forward::broken(&error)),
            Err(_) => {
                return Err(Refusal::new(
                    Kind::TimedOut,
                    "timed out",
                    "The server did not answer in time.",
                ));
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Answer::Response(response, None));
        }
        self.open(response)
    }

    fn open(self, mut response: Response<Incoming>) -> Result<Answer, Refusal> {
        let fields = response.headers();
        let accepted = fields
            .get_all(header::SEC_WEBSOCKET_ACCEPT)
            .iter()
            .eq([self.accept.as_str()]);
        if !accepted || !is_websocket(fields) || !headers::names_token(fields, &header::CONNECTION, "upgrade") {
            let detail = "The server switched to something that is not the WebSocket that was asked for.";
            return Err(Refusal::new(Kind::Upstream, "bad upgrade", detail));
        }
        let upstream = hyper::upgrade::on(&mut response);
        let mut head = response.map(drop);
        headers::clean_response(head.headers_mut());
        head.headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let client = self.client;
        Ok(Answer::Upgraded(
            head,
            Box::new(|entry| {
                tokio::spawn(tunnel(client, upstream, entry));
            }),
        ))
    }
}

async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, mut entry: Entry) {
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
        return;
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    if let Ok((up, down)) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        entry.sent.store(up, Ordering::Relaxed);
        entry.received = down;
        entry.complete = true;
    }
}

fn is_websocket(fields: &http::HeaderMap) -> bool {
    let mut values = fields.get_all(header::UPGRADE).iter();
    values
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && values.next().is_none()
}

/// `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2). SHA-1 is what the protocol says; nothing secret hangs on it.
pub(super) fn accept_for(key: &[u8]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    /// The example of RFC 6455 section 1.3.
    #[test]
    fn accept() {
        assert_eq!(
            super::accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
