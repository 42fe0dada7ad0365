//! Bounds: heads, connections, shutdown.

use super::support::{Jail, gist, text};
use crate::proxy::{Clients, Limits, ProxyAuth, Token};
use http::Request;
use http_body_util::Full;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const A: &str = "192.0.2.1:80";

// Proves: D02.
#[tokio::test]
async fn heads_are_bounded() {
    let jail = Jail::new(&["allow: .*"]).await;
    let check = async |fields: String, status: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n");
        let answer = jail.raw(A, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{} bytes: {answer}",
            fields.len()
        );
    };
    check("X: y\r\n".repeat(90), "200").await;
    check("X: y\r\n".repeat(150), "200").await;
    check("X: y\r\n".repeat(250), "431").await;
    check(format!("X: {}\r\n", "y".repeat(30_000)), "200").await;
    check(format!("X: {}\r\n", "y".repeat(80_000)), "431").await;
    assert_eq!(
        gist(&jail.log.nth(3).await),
        "Refused Deny GET http://a.test/ 431 [malformed request: too large]"
    );
}

/// A head with more fields than hyper takes by itself may come at any place of a connection.
#[tokio::test]
async fn many_fields_change_nothing_else() {
    let jail = Jail::new(&["allow: .*"]).await;
    let head = |path: &str, fields: usize| {
        let fields = "X: y\r\n".repeat(fields);
        format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n{fields}\r\nab")
    };
    // One after the other, and all at once.
    for at_once in [false, true] {
        let mut stream = jail.connect(A).await;
        let requests = [("/1", 1), ("/2", 150), ("/3", 1), ("/4", 190)].map(|(path, fields)| head(path, fields));
        let mut answers = String::new();
        if at_once {
            stream.write_all(requests.concat().as_bytes()).await.unwrap();
        }
        for (nth, request) in requests.iter().enumerate() {
            if !at_once {
                stream.write_all(request.as_bytes()).await.unwrap();
            }
            while !answers.contains(&format!("POST /{}\n", nth + 1)) {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).await.unwrap();
                assert!(count > 0, "{nth}: {answers}");
                answers += std::str::from_utf8(&piece[..count]).unwrap();
            }
        }
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 4, "{answers}");
        // Too many are refused as ever, in their turn.
        let more = [head("/5", 1), head("/6", 250)].concat();
        stream.write_all(more.as_bytes()).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        let (last, refusal) = rest.split_once("HTTP/1.1 431").unwrap();
        assert!(last.contains("POST /5\n") && refusal.contains("a.test/6"), "{rest}");
    }
}

/// So many that they are served by more than one thread, where there is more than one core.
#[tokio::test]
async fn many_connections_are_served_alike() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(jail.connect(A).await);
    }
    for round in 1..=2 {
        for stream in &mut streams {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                .await
                .unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            let mut rest = Vec::new();
            while !rest.ends_with(b"host: \"a.test\"\n") {
                assert!(stream.read_buf(&mut rest).await.unwrap() > 0);
            }
        }
        assert_eq!(jail.world.seen.requests(), round * streams.len());
    }
    drop(streams);
    let record = jail.log.nth(80).await;
    assert_eq!(gist(&record), "Request Allow GET http://a.test/ 200 [-]");
}

// Proves: D04.
#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let jail = Jail::with(&["allow: .*"], |config| config.limits.connections = 1).await;
    let head = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut first = jail.connect(A).await;
    first.write_all(head).await.unwrap();
    first.read_exact(&mut [0; 8]).await.unwrap();
    let mut second = jail.connect(A).await;
    second.write_all(head).await.unwrap();
    assert_eq!(jail.world.seen.requests(), 1);
    drop(first);
    second.read_exact(&mut [0; 8]).await.unwrap();
    assert_eq!(jail.world.seen.requests(), 2);
}

/// When places run out, who came first of those that have asked for nothing goes, long before a clock has run out.
// Proves: D04, D09.
#[tokio::test]
async fn who_asks_for_nothing_keeps_nobody_out() {
    let jail = Jail::with(&["allow: .*"], |config| config.limits.connections = 4).await;
    let mut idle = Vec::new();
    for nth in 0..20 {
        let mut stream = jail.connect(A).await;
        if nth % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.te").await.unwrap();
        }
        idle.push(stream);
    }
    assert_eq!(jail.get(A, "a.test", "/").await.0, 200);
    for stream in &mut idle[..16] {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let mut gists = std::collections::BTreeSet::new();
    for nth in 1..=18 {
        gists.insert(gist(&jail.log.nth(nth).await));
    }
    let reason = "no request yet, and no place for another connection (limits: connections)";
    let expected = [
        format!("Refused Deny - - - [{reason}]"),
        "Request Allow GET http://a.test/ 200 [-]".into(),
        format!("Unused - - - - [{reason}]"),
    ];
    assert_eq!(gists.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn shutdown_records_what_it_cuts() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut jail = Jail::with(&["allow: .*"], |config| config.limits.grace = Duration::from_millis(10)).await;
    let running = jail.serve_until(async {
        let _ = stopped.await;
    });
    let mut stream = jail.connect(A).await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(jail.log.count(), 1);
    let record = jail.log.nth(1).await;
    assert_eq!(gist(&record), "Request Allow GET http://a.test/endless 200 [cut short]");
}

/// What a client stops, on either end, ends with our patience.
// Proves: D01.
#[tokio::test]
async fn nothing_moves() {
    let short = |limits: &mut Limits| limits.stall = Duration::from_millis(100);
    let check = async |what: &str, bytes: &[u8]| {
        let jail = Jail::with(&["allow: .*"], |config| short(&mut config.limits)).await;
        let mut stream = jail.connect(A).await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // It ends: that is all there is to be seen from here.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(jail.log.nth(1).await.reason.is_some(), "{what}");
    };
    check(
        "a body that stops",
        b"POST /sink HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc",
    )
    .await;
    check("a head that stops", b"GET / HTTP/1.1\r\nHost: a.te").await;
    let silent = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    check("a silent WebSocket", silent.as_bytes()).await;

    let jail = Jail::with(&["allow: .*"], |config| short(&mut config.limits)).await;
    let mut stream = jail.connect(A).await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    // An answer that is not read.
    assert!(jail.log.nth(1).await.reason.is_some());
    // With the patience that we mostly have it goes on: these bytes are more than any buffer holds.
    let jail = Jail::new(&["allow: .*"]).await;
    let mut stream = jail.connect(A).await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = vec![0; 1 << 20];
    for _ in 0..32 {
        stream.read_exact(&mut bytes).await.unwrap();
    }
}

// Proves: D04.
#[tokio::test]
async fn requests_beyond_the_bound_are_refused() {
    let jail = Jail::with(&["allow: .*"], |config| config.limits.requests = 1).await;
    let mut first = jail.connect(A).await;
    first
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    first.read_exact(&mut [0; 1024]).await.unwrap();
    let (status, body) = jail.get(A, "a.test", "/").await;
    assert!(status == 503 && body.contains("Too many requests"), "{status} {body}");
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Request Deny GET http://a.test/ 503 [too many requests]"
    );
    drop(first);
    jail.log.nth(2).await;
    assert_eq!(jail.get(A, "a.test", "/").await.0, 200);
}

/// Whoever needs one connection more than there may be gets the place of one that is kept unused, or says what is
/// missing.
// Proves: D04.
#[tokio::test]
async fn upstream_connections_are_bounded() {
    let jail = Jail::with(&["allow: .*"], |config| {
        config.limits.upstreams = 1;
        config.limits.connect = Duration::from_secs(1);
    })
    .await;
    for host in ["a.test", "b.test", "a.test"] {
        assert_eq!(jail.get(A, host, "/").await.0, 200, "{host}");
    }
    let mut first = jail.connect(A).await;
    first
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    first.read_exact(&mut [0; 1024]).await.unwrap();
    let (status, body) = jail.get(A, "b.test", "/").await;
    assert!(
        status == 504 && body.contains("too many upstream connections"),
        "{status} {body}"
    );
    drop(first);
    jail.log.nth(5).await;
    assert_eq!(jail.get(A, "b.test", "/").await.0, 200);
}

/// Nor does a connection that belongs to a client keep others out while nothing is asked on it.
// Proves: D04.
#[tokio::test]
async fn connections_that_belong_to_clients_are_bounded() {
    let jail = Jail::with(&["allow: .*"], |config| {
        config.limits.upstreams = 2;
        config.limits.connect = Duration::from_secs(1);
    })
    .await;
    let mut own = jail.http1(A).await;
    let request = Request::builder()
        .header("host", "a.test")
        .header("authorization", "NTLM TlRM")
        .body(Full::default())
        .unwrap();
    assert_eq!(text(own.send_request(request).await.unwrap()).await.0, 200);
    let mut busy = jail.connect(A).await;
    busy.write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    busy.read_exact(&mut [0; 1024]).await.unwrap();
    assert_eq!(jail.get(A, "b.test", "/").await.0, 200);
}

/// What has been allocated, as far as the proxy of the test below is concerned.
static ALLOCATED: AtomicUsize = AtomicUsize::new(500);

/// Where too much is held those end on which nothing moves, nothing is read before there is room, and then all goes on.
// Proves: D08.
#[tokio::test]
async fn too_much_memory_ends_who_stands_still() {
    let jail = Jail::with(&["allow: .*"], |config| {
        config.limits.memory = 1000;
        config.allocated = || ALLOCATED.load(Ordering::SeqCst);
    })
    .await;
    let mut stale = jail.connect(A).await;
    stale.write_all(b"GET / HTTP/1.1\r\nHost: a.te").await.unwrap();
    let mut fresh = jail.connect(A).await;
    let half = b"GET / HTTP/1.1\r\nHost: a.test\r\n";
    fresh.write_all(half).await.unwrap();
    // Both are known, and the second has moved last.
    let mut other = jail.connect(A).await;
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    other.read_to_end(&mut Vec::new()).await.unwrap();
    fresh.write_all(b"X: y\r\n").await.unwrap();
    jail.log.nth(1).await;
    ALLOCATED.store(1500, Ordering::SeqCst);
    fresh.write_all(b"\r\n").await.unwrap();
    let _ = stale.read_to_end(&mut Vec::new()).await;
    assert_eq!(
        gist(&jail.log.nth(2).await),
        "Refused Deny - - - [too much memory is held]"
    );
    assert_eq!(jail.world.seen.requests(), 1, "it was read");
    ALLOCATED.store(500, Ordering::SeqCst);
    fresh.read_exact(&mut [0; 12]).await.unwrap();
    assert_eq!(jail.world.seen.requests(), 2);
}

/// Who shows no token is not here for long, and takes nobody's place who shows it.
// Proves: D09.
#[tokio::test]
async fn strangers_take_no_places() {
    let (token, secret) = Token::new().unwrap();
    let coded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(Token::credentials(&secret))
    };
    let jail = Jail::with(&["allow: .*"], |config| {
        config.clients = Clients::Explicit(ProxyAuth::Token(Box::new(token)));
        config.limits.connections = 16;
        config.limits.stranger = Duration::from_millis(500);
    })
    .await;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        let mut stranger = jail.connect(A).await;
        stranger.write_all(b"GET http://a.test/ HTTP/1.1\r\n").await.unwrap();
        strangers.push(stranger);
        let mut known = jail.connect(A).await;
        let head = format!(
            "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic {coded}\r\nConnection: close\r\n\r\n"
        );
        known.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        known.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for stranger in &mut strangers {
        // However it ends: it ends.
        let _ = stranger.read_to_end(&mut Vec::new()).await;
    }
    let mut reasons = Vec::new();
    for nth in 1..=80 {
        reasons.extend(jail.log.nth(nth).await.reason);
    }
    let count = |what: &str| reasons.iter().filter(|reason| *reason == what).count();
    let (many, late) = (count("too many clients without the token"), count("no token in time"));
    assert!(many + late == 40 && late >= 1 && many >= 1, "{reasons:?}");
}

/// Want of descriptors pauses the accepting, and a client that gave up does not.
// Proves: D04.
#[test]
fn accepting_does_not_spin() {
    let pauses = |code: i32| crate::proxy::server::pause_after(&std::io::Error::from_raw_os_error(code)).is_some();
    #[cfg(target_os = "linux")]
    for (code, expected) in [
        (libc::EMFILE, true),
        (libc::ENFILE, true),
        (libc::ENOMEM, true),
        (libc::ECONNABORTED, false),
    ] {
        assert_eq!(pauses(code), expected, "{code}");
    }
}
