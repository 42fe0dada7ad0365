//! The upstream leg: addresses, certificates, kept connections, WebSockets.

use super::support::{Jail, gist, text};
use crate::proxy::Mode;
use http::Request;
use http_body_util::Full;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A name leads where its DNS says; the rule has to vouch for more than its spelling.
// Proves: H20, H21, S20.
#[tokio::test]
async fn addresses() {
    let check = async |rule: &str, host: &str, expected: &str| {
        let jail = Jail::new(&[rule]).await;
        jail.get("192.0.2.9:80", host, "/").await;
        let record = jail.log.nth(1).await;
        let reason = record.reason.unwrap_or_default();
        let outcome = format!("{} {reason} {:?}", record.status.unwrap(), jail.world.seen.dialled());
        assert_eq!(outcome, expected, "{rule} {host}");
    };
    check("allow: .*", "a.test", r#"200  ["192.0.2.1:80"]"#).await;
    check("allow: .*", "rebound.test", "403 loopback address []").await;
    check(
        r"allow: ^http://rebound\.test/",
        "rebound.test",
        "403 loopback address []",
    )
    .await;
    check("allow: .*", "localhost", "403 loopback address []").await;
    check("allow: ^http://localhost/", "localhost", r#"200  ["127.0.0.1:80"]"#).await;
    check("allow: .*", "127.0.0.1", "403 loopback address []").await;
    check(r"allow: ^http://127\.0\.0\.1/", "127.0.0.1", r#"200  ["127.0.0.1:80"]"#).await;
    check("allow: .*", "169.254.169.254", "403 link-local address []").await;
    check("allow: .*", "198.18.0.1", "403 made-up address []").await;
    check("allow: .*", "inner.test", "403 private address []").await;
    check(r"allow: ^http://inner\.test/", "inner.test", r#"200  ["10.9.8.7:80"]"#).await;
    check(r"allow: ^http://own\.test/", "own.test", "403 address of this host []").await;
    // Only what may be dialed is.
    check("allow: .*", "mixed.test", r#"200  ["192.0.2.1:80"]"#).await;
    check(r"allow: ^http://six\.test/", "six.test", "403 loopback address []").await;
    // The next address is tried.
    check("allow: .*", "half.test", r#"200  ["203.0.113.66:80", "192.0.2.1:80"]"#).await;
    check("allow: .*", "dead.test", r#"502 connect failed ["203.0.113.66:80"]"#).await;
    check("allow: .*", "nowhere.test", "502 name not resolved []").await;
}

/// The client's choice counts among the addresses that the name has, and only there.
#[tokio::test]
async fn the_original_destination_is_preferred() {
    let check = async |destination: &str, dialled: &str| {
        let jail = Jail::new(&["allow: .*"]).await;
        assert_eq!(jail.get(destination, "two.test", "/").await.0, 200);
        assert_eq!(jail.world.seen.dialled(), [dialled]);
    };
    check("192.0.2.6:80", "192.0.2.6:80").await;
    check("192.0.2.5:80", "192.0.2.5:80").await;
    check("203.0.113.5:80", "192.0.2.5:80").await;
}

#[tokio::test]
async fn observing_opens_private_addresses_only() {
    let jail = Jail::with(&[], |config| config.mode = Mode::LogOnly).await;
    assert_eq!(jail.get("192.0.2.9:80", "inner.test", "/").await.0, 200);
    assert_eq!(jail.get("192.0.2.9:80", "rebound.test", "/").await.0, 403);
}

// Proves: S18.
#[tokio::test]
async fn never_the_proxy_itself() {
    let rules = &[r"allow: ^http://127\.0\.0\.1:3128/"];
    let jail = Jail::with(rules, |config| config.itself = vec!["127.0.0.1:3128".parse().unwrap()]).await;
    assert_eq!(jail.get("127.0.0.1:3128", "127.0.0.1:3128", "/").await.0, 403);
    assert_eq!(jail.log.nth(1).await.reason.as_deref(), Some("the proxy itself"));
    let twin = Jail::new(rules).await;
    assert_eq!(twin.get("127.0.0.1:3128", "127.0.0.1:3128", "/").await.0, 200);
}

// Proves: H01, T01.
#[tokio::test]
async fn a_certificate_for_another_name() {
    let jail = Jail::new(&["allow: .*"]).await;
    let ask = |host: &str| Request::builder().header("host", host).body(Full::default()).unwrap();
    let response = jail
        .https1("bad.test")
        .await
        .send_request(ask("bad.test"))
        .await
        .unwrap();
    assert_eq!(response.headers()["x-httpjail"], "upstream-error");
    let (status, body) = text(response).await;
    assert_eq!(status, 502);
    assert!(body.contains("certificate"), "{body}");
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Allow GET https://bad.test/ 502 [certificate]"
    );
    assert_eq!(jail.world.seen.requests(), 0);
    assert_eq!(
        text(jail.https1("a.test").await.send_request(ask("a.test")).await.unwrap())
            .await
            .0,
        200
    );
}

// Proves: H10.
#[tokio::test]
async fn connections_are_kept_by_what_they_were_opened_for() {
    let jail = Jail::new(&[r"allow: ^http://[ab]\.test/"]).await;
    let mut client = jail.http1("192.0.2.1:80").await;
    for _ in 0..20 {
        for host in ["a.test", "b.test"] {
            let request = Request::builder().header("host", host).body(Full::default()).unwrap();
            client.ready().await.unwrap();
            let (status, body) = text(client.send_request(request).await.unwrap()).await;
            assert_eq!(status, 200, "{host}: {body}");
        }
    }
    let opened = jail.world.seen.connections();
    // Giving a connection back and asking for the next one may race, so there can be one more of each.
    assert!((2..=8).contains(&opened), "{opened}");
    assert_eq!(jail.world.seen.requests(), 40);
}

/// Sends the head of a request that is answered at once, and whose exchange goes on until [`finish`].
async fn begin(client: &mut TcpStream, host: &str) {
    let head = format!("POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = head_of(client).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

async fn finish(client: &mut TcpStream) {
    client.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}

/// One exchange of each client, all at the same time.
async fn exchange(clients: &mut [TcpStream], host: &str) {
    for client in &mut *clients {
        begin(client, host).await;
    }
    for client in clients {
        finish(client).await;
    }
}

/// As many connections are kept as were in use at a time.
#[tokio::test]
async fn many_clients_need_no_more_connections_than_they_are() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(jail.connect("192.0.2.1:80").await);
    }
    for _ in 0..4 {
        exchange(&mut clients, "a.test").await;
    }
    let (opened, requests) = (jail.world.seen.connections(), jail.world.seen.requests());
    assert_eq!(requests, 256);
    // Giving a connection back and asking for the next one may race.
    assert!((64..=80).contains(&opened), "{opened}");
}

/// The bound that a user sets holds.
#[tokio::test]
async fn no_more_connections_are_kept_than_are_wanted() {
    let jail = Jail::with(&["allow: .*"], |config| config.limits.idle_per_host = 1).await;
    let mut clients = [
        jail.connect("192.0.2.1:80").await,
        jail.connect("192.0.2.1:80").await,
        jail.connect("192.0.2.1:80").await,
    ];
    for _ in 0..2 {
        exchange(&mut clients, "a.test").await;
    }
    let opened = jail.world.seen.connections();
    // One of the second three may come back before another is asked for.
    assert!((4..=5).contains(&opened), "{opened}");
}

/// Where permits run out, the connection makes way that has been unused for the longest time, and no other.
// Proves: D04.
#[tokio::test]
async fn one_connection_makes_way_for_one() {
    let jail = Jail::with(&["allow: .*"], |config| {
        config.limits.upstreams = 3;
        config.limits.connect = Duration::from_secs(10);
    })
    .await;
    let mut clients = [jail.connect("192.0.2.1:80").await, jail.connect("192.0.2.1:80").await];
    begin(&mut clients[0], "b.test").await;
    finish(&mut clients[0]).await;
    exchange(&mut clients, "a.test").await;
    assert_eq!(jail.world.seen.connections(), 3);
    // The one to `b.test` goes.
    begin(&mut clients[0], "half.test").await;
    finish(&mut clients[0]).await;
    exchange(&mut clients, "a.test").await;
    assert_eq!(jail.world.seen.connections(), 4);
}

const KNOCK: &str = "Host: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_websocket_opens_when_the_server_says_so() {
    let jail = Jail::new(&[r"allow: ^http://a\.test/ws"]).await;
    let mut stream = jail.connect("192.0.2.1:80").await;
    stream
        .write_all(format!("GET /ws HTTP/1.1\r\n{KNOCK}").as_bytes())
        .await
        .unwrap();
    let head = head_of(&mut stream).await;
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    stream.write_all(b"\x81\x05hello").await.unwrap();
    let mut echo = [0; 7];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x81\x05hello");
    drop(stream);
    let record = jail.log.nth(1).await;
    assert_eq!(gist(&record), "Request Allow GET http://a.test/ws 101 [-]");
    assert_eq!((record.bytes_in, record.bytes_out), (Some(7), Some(7)));
}

/// A tunnel on the client's wish alone would carry the second request past the rules (docs/threat-model.md H12).
// Proves: H12.
#[tokio::test]
async fn a_websocket_opens_for_nothing_less() {
    let jail = Jail::new(&[r"allow: ^http://a\.test/ws"]).await;
    let check = async |path: &str, status: &str| {
        let before = jail.world.seen.requests();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let answer = jail
            .raw("192.0.2.1:80", format!("GET {path} HTTP/1.1\r\n{KNOCK}{smuggled}"))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("HTTP/1.1 403"), "{path}: {answer}");
        jail.world.seen.requests() - before
    };
    assert_eq!(check("/ws-liar", "502").await, 1);
    assert_eq!(check("/ws-refuses", "426").await, 1);
    assert_eq!(check("/no-ws", "403").await, 0);
}

// Proves: H12, H13, H18.
#[tokio::test]
async fn an_upgrade_that_nobody_asked_for() {
    let jail = Jail::new(&["allow: .*"]).await;
    let (status, body) = jail.get("192.0.2.1:80", "a.test", "/ws").await;
    assert!(status == 502 && body.contains("unasked"), "{status} {body}");
}

/// A server that wants to know who calls: said so, in both versions of TLS and of HTTP, whatever was sent when it hung
/// up.
// Proves: T05.
#[tokio::test]
async fn a_client_certificate_is_demanded() {
    use rustls::server::WebPkiClientVerifier;
    use rustls::version::{TLS12, TLS13};
    use std::sync::Arc;
    for version in [&TLS12, &TLS13] {
        for (http2, demanded) in [(true, true), (false, true), (true, false), (false, false)] {
            let jail = Jail::new(&["allow: .*"]).await;
            let mut roots = rustls::RootCertStore::empty();
            roots.add(jail.world.authority.certificate().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let verifier = if demanded {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            let key = jail
                .world
                .authority
                .issue(&crate::net::Host::parse("a.test").unwrap())
                .unwrap();
            let mut config = rustls::ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_client_cert_verifier(verifier.build().unwrap())
                .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
            if http2 {
                config.alpn_protocols = vec![b"h2".to_vec()];
            }
            jail.world.serve_tls(config, http2).await;
            let request = Request::post("/sink").header("host", "a.test:3128");
            let request = request.body(Full::from(vec![b'x'; 100_000])).unwrap();
            let stream = jail.try_tls("192.0.2.1:3128", "a.test", &["http/1.1"]).await.unwrap();
            let mut client = super::support::http1_on(stream).await;
            let (status, body) = text(client.send_request(request).await.unwrap()).await;
            let place = format!("{version:?} {http2} {demanded}: {status} {body}");
            match demanded {
                true => assert!(
                    status == 502 && body.contains("requires a client certificate"),
                    "{place}"
                ),
                // One that would like to know and goes on all the same.
                false => assert!(status == 200 && body == "100000", "{place}"),
            }
        }
    }
}

/// An address that never answers keeps the others waiting for a moment only.
// Proves: D01.
#[tokio::test]
async fn an_address_that_says_nothing() {
    let jail = Jail::new(&["allow: .*"]).await;
    assert_eq!(jail.get("192.0.2.9:80", "silent.test", "/").await.0, 200);
    // By turns: the second family is tried second, however many addresses the first has.
    assert_eq!(jail.world.seen.dialled()[..2], ["[2001:db8::dead]:80", "192.0.2.1:80"]);
}

/// Each step that takes too long says so.
#[tokio::test]
async fn what_timed_out() {
    let check = async |url: &str, change: fn(&mut crate::proxy::Limits), said: &str| {
        let jail = Jail::with(&["allow: .*"], |config| change(&mut config.limits)).await;
        let (_, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let (status, body) = match url.starts_with("http://") {
            true => jail.get("192.0.2.9:80", host, path).await,
            false => {
                jail.world.serve_silence().await;
                let name = host.split(':').next().unwrap();
                let stream = jail.try_tls("192.0.2.1:3128", name, &[]).await.unwrap();
                let request = Request::get(path).header("host", host).body(Full::default()).unwrap();
                text(
                    super::support::http1_on(stream)
                        .await
                        .send_request(request)
                        .await
                        .unwrap(),
                )
                .await
            }
        };
        assert!(status == 504 && body.contains(said), "{url}: {status} {body}");
        assert_eq!(jail.log.nth(1).await.reason.as_deref(), Some("timed out"), "{url}");
    };
    check(
        "http://lost.test/",
        |limits| limits.resolve = MOMENT,
        "lost.test timed out: resolving the name",
    )
    .await;
    check(
        "http://hole.test/",
        |limits| limits.connect = MOMENT,
        "hole.test timed out: connecting",
    )
    .await;
    check(
        "https://a.test:3128/",
        |limits| limits.tls = MOMENT,
        "a.test timed out: the TLS handshake",
    )
    .await;
    check(
        "http://a.test/never",
        |limits| limits.response = MOMENT,
        "did not answer in time",
    )
    .await;
}

const MOMENT: Duration = Duration::from_millis(20);
