//! Connections: who may knock, what is HTTP, and TLS.

use super::hello;
use super::support::{Jail, gist, tls};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const A: &str = "192.0.2.1:443";

// Proves: S18, S19.
#[tokio::test]
async fn only_known_connections() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut stranger = jail.connect_unknown().await;
    let _ = stranger.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(!matches!(stranger.read(&mut [0; 16]).await, Ok(1..)));
    assert_eq!(gist(&jail.log.nth(1).await), "Refused Deny - - - [unknown connection]");
    assert_eq!(jail.get("192.0.2.1:80", "a.test", "/").await.0, 200);
}

// Proves: H19.
#[tokio::test]
async fn what_is_not_http() {
    let jail = Jail::new(&["allow: .*"]).await;
    for (nth, bytes) in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x80\x2e\x01\0\x02",
        b"*1\r\n$4\r\nPING\r\n",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(jail.raw("192.0.2.1:22", bytes).await, "");
        let reason = if nth == 0 { "not http: ssh" } else { "not http" };
        assert_eq!(
            gist(&jail.log.nth(nth + 1).await),
            format!("Refused Deny - - - [{reason}]")
        );
    }
    let record = jail.log.nth(1).await;
    assert_eq!(
        (record.dst, record.exe),
        (Some("192.0.2.1:22".parse().unwrap()), Some("/bin/program-77".into()))
    );
    assert!(
        jail.raw("192.0.2.1:80", "GET / HTTP/1.1\r\nbroken\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert_eq!(
        gist(&jail.log.nth(4).await),
        "Refused Deny GET http://192.0.2.1/ 400 [malformed request: field name]"
    );
    assert_eq!(jail.world.seen.connections(), 0);
}

/// What a client opens and leaves without a word of HTTP is no refusal: programs race addresses and keep connections in
/// reserve.
#[tokio::test]
async fn who_asks_for_nothing_is_refused_nothing() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut nth = 0;
    let mut left = async |within: &str, host: Option<&str>| {
        nth += 1;
        let record = jail.log.nth(nth).await;
        assert_eq!(gist(&record), format!("Unused - - - - [the client left{within}]"));
        assert_eq!(record.host.as_deref(), host);
    };
    drop(jail.connect("192.0.2.1:22").await);
    left("", None).await;
    drop(jail.connect("198.18.0.1:443").await);
    left("", Some("a.test")).await;
    // The beginning of a TLS record, and a ClientHello without an answer to ours.
    for length in [1, 2, 60] {
        let mut stream = jail.connect("198.18.0.1:443").await;
        stream.write_all(&hello::plain("a.test")[..length]).await.unwrap();
        drop(stream);
        left(
            if length < 3 { "" } else { " within the TLS handshake" },
            Some("a.test"),
        )
        .await;
    }
    let mut stream = jail.connect(A).await;
    stream.write_all(&hello::plain("b.test")).await.unwrap();
    stream.read_exact(&mut [0; 64]).await.unwrap();
    drop(stream);
    left(" within the TLS handshake", Some("b.test")).await;
    // With a reset.
    let stream = jail.connect(A).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    left("", None).await;
    for alpn in [&[][..], &["http/1.1"], &["h2"]] {
        drop(jail.try_tls(A, "a.test", alpn).await.unwrap());
        left("", Some("a.test")).await;
    }
    drop(jail.https2("a.test").await);
    left("", Some("a.test")).await;

    // Of what was begun, nobody knows what it was to become.
    nth += 1;
    let mut stream = jail.connect(A).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    drop(stream);
    assert_eq!(
        gist(&jail.log.nth(nth).await),
        "Refused Deny - - - [the request broke off]"
    );
    let mut stream = jail.connect(A).await;
    stream.write_all(b"hello").await.unwrap();
    drop(stream);
    assert_eq!(gist(&jail.log.nth(nth + 1).await), "Refused Deny - - - [not http]");
    assert_eq!(jail.world.seen.connections(), 0);
}

/// Where the server speaks first (SMTP, MySQL) the client waits, and so would we for ever. It may also be a spare one.
// Proves: H19, D01.
#[tokio::test]
async fn silence_ends() {
    let jail = Jail::with(&["allow: .*"], |config| {
        config.limits.silence = Duration::from_millis(20);
        config.limits.header = Duration::from_millis(30);
        config.limits.handshake = Duration::from_millis(40);
    })
    .await;
    let end = async |mut stream: tokio::net::TcpStream| {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        (read.is_ok(), answer.is_empty())
    };
    // Hung up on, not cut off.
    assert_eq!(end(jail.connect("198.18.0.1:25").await).await, (true, true));
    let record = jail.log.nth(1).await;
    assert_eq!(
        gist(&record),
        "Silent - - - - [nothing was said for 0.02 s (limits: silence-timeout)]"
    );
    assert_eq!(record.host.as_deref(), Some("a.test"));
    let mut slow = jail.connect("192.0.2.1:80").await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    end(slow).await;
    let head = "silent for 0.03 s before a whole request (limits: header-timeout)";
    assert_eq!(gist(&jail.log.nth(2).await), format!("Refused Deny - - - [{head}]"));
    let mut slow = jail.connect("192.0.2.1:80").await;
    slow.write_all(b"GE").await.unwrap();
    end(slow).await;
    assert_eq!(gist(&jail.log.nth(3).await), format!("Refused Deny - - - [{head}]"));
    let mut slow = jail.connect(A).await;
    slow.write_all(&hello::plain("a.test")).await.unwrap();
    end(slow).await;
    assert_eq!(
        gist(&jail.log.nth(4).await),
        "Refused Deny - - - [silent for 0.04 s in the TLS handshake (limits: handshake-timeout)]"
    );
    // IMAPS: TLS, and the server would speak. With an ALPN name of HTTP it is a connection in reserve.
    let mut nth = 4;
    for (alpn, gist_of) in [
        (
            &[][..],
            "Silent - - - - [nothing was said for 0.02 s (limits: silence-timeout)]".to_owned(),
        ),
        (&["http/1.1"], format!("Unused - - - - [{head}]")),
        (&["h2"], format!("Unused - - - - [{head}]")),
    ] {
        nth += 1;
        let mut stream = jail.try_tls(A, "a.test", alpn).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert_eq!(gist(&jail.log.nth(nth).await), gist_of);
    }
    // A kept connection that nobody uses any more leaves no record.
    let mut kept = jail.connect("192.0.2.1:80").await;
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = kept.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(
        gist(&jail.log.nth(nth + 1).await),
        "Request Allow GET http://a.test/ 200 [-]"
    );
    assert_eq!(jail.log.count(), nth + 1);
}

/// Silence counts and not work: whoever says a byte now and then is served, up to the end of all patience.
// Proves: D01.
#[tokio::test]
async fn a_slow_client_is_not_a_silent_one() {
    let patient = |arrival: u64| {
        move |config: &mut crate::proxy::Config| {
            config.limits.header = Duration::from_millis(400);
            config.limits.handshake = Duration::from_millis(400);
            config.limits.arrival = Duration::from_millis(arrival);
        }
    };
    let jail = Jail::with(&["allow: .*"], patient(600_000)).await;
    let head = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let trickle = async |stream: &mut tokio::net::TcpStream, bytes: &[u8]| {
        for byte in bytes {
            // Together far longer than the limit.
            tokio::time::sleep(Duration::from_millis(15)).await;
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    let mut stream = jail.connect("192.0.2.1:80").await;
    trickle(&mut stream, head).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut stream = jail.connect(A).await;
    trickle(&mut stream, &hello::plain("a.test")[..90]).await;
    stream.write_all(&hello::plain("a.test")[90..]).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 0x16);

    let jail = Jail::with(&["allow: .*"], patient(500)).await;
    for (nth, bytes) in [&head[..], &hello::plain("a.test")].into_iter().enumerate() {
        let mut stream = jail.connect(A).await;
        trickle(&mut stream, bytes).await;
        assert_eq!(
            gist(&jail.log.nth(nth + 1).await),
            "Refused Deny - - - [no whole request within 0.5 s (limits: arrival-timeout)]"
        );
    }
}

// Proves: T06.
#[tokio::test]
async fn a_client_that_does_not_trust_us_gets_no_passthrough() {
    let jail = Jail::new(&["allow: .*"]).await;
    for nth in 1..4 {
        let stranger = crate::tls::CertificateAuthority::generate().unwrap();
        let refused = tls(jail.connect(A).await, &stranger, "a.test", &[]).await;
        assert!(refused.is_err());
        let record = jail.log.nth(nth).await;
        assert_eq!(gist(&record), "Refused Deny - - - [client refused our certificate]");
        assert_eq!(record.host.as_deref(), Some("a.test"));
    }
    assert_eq!(jail.world.seen.connections(), 0);
    assert!(jail.try_tls(A, "a.test", &[]).await.is_ok());
}

// Proves: T08.
#[tokio::test]
async fn alpn() {
    let jail = Jail::new(&["allow: .*"]).await;
    assert!(jail.try_tls(A, "a.test", &["ssh"]).await.is_err());
    assert_eq!(
        gist(&jail.log.nth(1).await),
        "Refused Deny - - - [tls handshake failed]"
    );
    let both = jail.try_tls(A, "a.test", &["ssh", "http/1.1", "h2"]).await.unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let none = jail.try_tls(A, "a.test", &[]).await.unwrap();
    assert_eq!(none.get_ref().1.alpn_protocol(), None);
}

/// Without an SNI the destination names the host: a made-up address its name, any other itself.
// Proves: T02.
#[tokio::test]
async fn no_server_name() {
    let jail = Jail::new(&["allow: .*"]).await;
    // A client that connects to an IP address sends no SNI, and wants that address in the certificate.
    assert!(jail.try_tls("198.18.0.1:443", "192.0.2.1", &[]).await.is_err());
    assert_eq!(jail.log.nth(1).await.host.as_deref(), Some("a.test"));
    assert!(jail.try_tls(A, "192.0.2.1", &[]).await.is_ok());
}

#[tokio::test]
async fn tls_unopened_is_judged_by_its_name() {
    let jail = Jail::with(&[r"allow: ^https://a\.test/$"], |config| config.intercept_tls = false).await;
    let pass = |sni: &'static str| {
        let jail = &jail;
        async move { tls(jail.connect(A).await, &jail.world.authority, sni, &["http/1.1"]).await }
    };
    // It is the origin's own certificate that the client sees.
    let mut through = pass("a.test").await.unwrap();
    through
        .write_all(b"GET /in HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    through.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("GET /in"), "{answer}");
    drop(through);
    let record = jail.log.nth(1).await;
    assert_eq!(gist(&record), "Request Allow CONNECT https://a.test/ - [-]");
    assert!(
        record.bytes_in > Some(200) && record.bytes_out > Some(400),
        "{record:?}"
    );

    let refused = pass("b.test").await.unwrap_err();
    assert!(refused.to_string().contains("AccessDenied"), "{refused}");
    assert_eq!(
        gist(&jail.log.nth(2).await),
        "Request Deny CONNECT https://b.test/ - [no rule matched]"
    );
    assert_eq!(jail.world.seen.connections(), 1);
}
