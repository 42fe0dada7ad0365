//! Connections: who may knock, what is HTTP, and TLS.

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
        assert_eq!(gist(&jail.log.nth(nth + 1).await), "Refused Deny - - - [not http]");
    }
    let record = jail.log.nth(1).await;
    assert_eq!(
        (record.dst, record.exe),
        (Some("192.0.2.1:22".parse().unwrap()), Some("/bin/program-77".into()))
    );
    drop(jail.connect("192.0.2.1:22").await);
    assert_eq!(gist(&jail.log.nth(4).await), "Refused Deny - - - [no request]");
    drop(jail.try_tls(A, "a.test", &[]).await.unwrap());
    assert_eq!(gist(&jail.log.nth(5).await), "Refused Deny - - - [no request]");
    assert!(
        jail.raw("192.0.2.1:80", "GET / HTTP/1.1\r\nbroken\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert_eq!(
        gist(&jail.log.nth(6).await),
        "Refused Deny - - 400 [malformed request: field name]"
    );
    assert_eq!(jail.world.seen.connections(), 0);
}

/// Where the server speaks first (SSH, SMTP) the client waits, and so would we for ever.
// Proves: H19, D01.
#[tokio::test]
async fn silence_ends() {
    let jail = Jail::with(&["allow: .*"], |config| {
        config.limits.header = Duration::from_millis(20)
    })
    .await;
    let mut silent = jail.connect("192.0.2.1:25").await;
    assert!(!matches!(silent.read(&mut [0; 16]).await, Ok(1..)));
    assert_eq!(gist(&jail.log.nth(1).await), "Refused Deny - - - [no request in time]");
    let mut slow = jail.connect("192.0.2.1:80").await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let _ = slow.read_to_end(&mut Vec::new()).await;
    assert_eq!(gist(&jail.log.nth(2).await), "Refused Deny - - - [no request in time]");
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
