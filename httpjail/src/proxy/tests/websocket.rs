//! WebSockets: over HTTP/2 what they are over HTTP/1.1, and in the log whatever ends them.

use super::support::{Jail, gist};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KNOCK: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client that has seen that the proxy takes extended CONNECTs.
async fn client(jail: &Jail) -> SendRequest<Full<Bytes>> {
    let stream = jail.try_tls("192.0.2.1:443", "a.test", &["h2"]).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    // Its answer comes after the proxy's settings.
    let first = Request::get("https://a.test/").body(Full::default()).unwrap();
    client.send_request(first).await.unwrap();
    client
}

async fn knock(jail: &Jail, path: &str, protocol: &'static str, version: &str) -> Response<Incoming> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("https://a.test{path}"))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", version);
    let request = request.body(Full::default()).unwrap();
    client(jail).await.send_request(request).await.unwrap()
}

const RULES: [&str; 2] = [r"deny: /denied", r"allow-get: ^https?://a\.test/"];

#[tokio::test]
async fn over_http2() {
    let jail = Jail::new(&RULES).await;
    let response = knock(&jail, "/ws", "websocket", "13").await;
    assert_eq!(response.status(), 200);
    for field in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(field), "{response:?}");
    }
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for _ in 0..3 {
        stream.write_all(b"\x81\x05hello").await.unwrap();
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"\x81\x05hello");
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    let record = jail.log.nth(2).await;
    assert_eq!(gist(&record), "Request Allow GET https://a.test/ws 200 [-]");
    assert_eq!((record.bytes_in, record.bytes_out), (Some(21), Some(21)));
}

// Proves: H12, H13.
#[tokio::test]
async fn over_http2_for_nothing_less() {
    let check = async |path: &str, protocol: &'static str, version: &str, status: u16, reason: &str| {
        let jail = Jail::new(&RULES).await;
        let response = knock(&jail, path, protocol, version).await;
        assert_eq!(response.status().as_u16(), status, "{path} {protocol}");
        assert_eq!(
            jail.log.nth(2).await.reason.as_deref().unwrap_or("-"),
            reason,
            "{path} {protocol}"
        );
    };
    check("/denied/ws", "websocket", "13", 403, "denied by rule").await;
    check("/ws", "connect-udp", "13", 405, "connect").await;
    check("/ws", "websocket", "8", 400, "malformed request").await;
    check("/ws-refuses", "websocket", "13", 426, "-").await;
    check("/ws-liar", "websocket", "13", 502, "bad upgrade").await;
    // A plain answer would be taken for a tunnel.
    check("/plain", "websocket", "13", 502, "bad upgrade").await;
}

/// A tunnel is in the log also where the jail ends before it.
#[tokio::test]
async fn what_the_shutdown_cuts_is_recorded() {
    for over_http2 in [false, true] {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut jail = Jail::with(&RULES, |config| config.limits.grace = Duration::from_millis(10)).await;
        let running = jail.serve_until(async {
            let _ = stopped.await;
        });
        let (mut plain, mut tunnel);
        if over_http2 {
            tunnel = TokioIo::new(
                hyper::upgrade::on(knock(&jail, "/ws", "websocket", "13").await)
                    .await
                    .unwrap(),
            );
            tunnel.write_all(b"\x81\x02hi").await.unwrap();
            tunnel.read_exact(&mut [0; 4]).await.unwrap();
        } else {
            plain = jail.connect("192.0.2.1:80").await;
            plain.write_all(KNOCK.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(plain.read_u8().await.unwrap());
            }
            plain.write_all(b"\x81\x02hi").await.unwrap();
            plain.read_exact(&mut [0; 4]).await.unwrap();
        }
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
        let requests = if over_http2 { 2 } else { 1 };
        assert_eq!(jail.log.count(), requests);
        let record = jail.log.nth(requests).await;
        assert_eq!(record.reason.as_deref(), Some("cut short"));
        assert_eq!((record.bytes_in, record.bytes_out), (Some(4), Some(4)));
    }
}

/// What a client sends too early is no request either.
#[tokio::test]
async fn frames_before_the_answer_wait_for_it() {
    let jail = Jail::new(&RULES).await;
    let mut stream = jail.connect("192.0.2.1:80").await;
    stream.write_all(format!("{KNOCK}\u{1}early").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut echo = [0; 6];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!((StatusCode::SWITCHING_PROTOCOLS.as_u16(), &echo), (101, b"\x01early"));
}
