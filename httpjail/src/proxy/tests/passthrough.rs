//! Hosts whose TLS is not decrypted: only those that the user listed, by their SNI, and judged like all without
//! decryption.

use super::support::{Jail, client_hello, gist, tls};
use crate::net::HostPattern;
use crate::proxy::{Clients, ProxyAuth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ASK: &[u8] = b"GET /p HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

async fn jail(rules: &[&str], listed: &[&str]) -> Jail {
    Jail::with(rules, |config| {
        config.passthrough = listed.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
    })
    .await
}

/// Who answers TLS for `sni`: the server itself, httpjail, or nobody.
async fn who_answers(jail: &Jail, stream: impl AsyncFn() -> TcpStream, sni: &str) -> &'static str {
    if let Ok(mut stream) = tls(stream().await, &jail.world.authority, sni, &["http/1.1"]).await {
        stream.write_all(ASK).await.unwrap();
        stream.flush().await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        return "server";
    }
    match jail.tls_through(stream().await, sni).await {
        Ok(_) => "httpjail",
        Err(_) => "nobody",
    }
}

#[tokio::test]
async fn by_sni() {
    let check = async |listed: &[&str], destination: &str, sni: &str, expected: &str| {
        let jail = jail(&["allow: .*"], listed).await;
        let answers = who_answers(&jail, async || jail.connect(destination).await, sni).await;
        assert_eq!(answers, expected, "{listed:?} {destination} {sni}");
    };
    check(&[], "192.0.2.1:443", "a.test", "httpjail").await;
    check(&["a.test"], "192.0.2.1:443", "a.test", "server").await;
    check(&["b.test", "*.test"], "192.0.2.1:443", "a.test", "server").await;
    check(&["b.test", "*.a.test"], "192.0.2.1:443", "a.test", "httpjail").await;
    check(&["a.test"], "192.0.2.1:443", "b.test", "httpjail").await;
    // No SNI: an address is never sent as one.
    check(&["a.test"], "192.0.2.1:443", "192.0.2.1", "httpjail").await;
    // 198.18.0.1 was made up for a.test: who says b.test there is not taken at its word.
    check(&["*.test"], "198.18.0.1:443", "a.test", "server").await;
    check(&["*.test"], "198.18.0.1:443", "b.test", "httpjail").await;
}

// Proves: H15.
#[tokio::test]
async fn in_a_tunnel_the_connect_must_name_it_too() {
    let check = async |explicit: bool, connect: &str, sni: &str, expected: &str| {
        let jail = Jail::with(&["allow: .*"], |config| {
            config.passthrough = vec![HostPattern::parse("a.test").unwrap()];
            if explicit {
                config.clients = Clients::Explicit(ProxyAuth::Open);
            }
        })
        .await;
        let open = async || {
            let mut stream = jail.connect("192.0.2.9:3128").await;
            let head = format!("CONNECT {connect} HTTP/1.1\r\nHost: {connect}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await.unwrap());
            }
            stream
        };
        assert_eq!(who_answers(&jail, open, sni).await, expected, "{connect} {sni}");
    };
    for explicit in [false, true] {
        check(explicit, "a.test:443", "a.test", "server").await;
        check(explicit, "b.test:443", "a.test", "httpjail").await;
        check(explicit, "a.test:443", "b.test", "httpjail").await;
        check(explicit, "192.0.2.1:443", "a.test", "httpjail").await;
    }
}

/// Judged as without decryption at all: by a rule that allows CONNECT to the host.
#[tokio::test]
async fn verdicts() {
    let check = async |rule: &str, sni: &str, answers: &str, record: &str| {
        let jail = jail(&[rule], &["*.test"]).await;
        assert_eq!(
            who_answers(&jail, async || jail.connect("192.0.2.1:443").await, sni).await,
            answers,
            "{rule}"
        );
        assert_eq!(gist(&jail.log.nth(1).await), record, "{rule}");
        assert_eq!(jail.world.seen.dialled().is_empty(), answers != "server");
    };
    let passed = "Request Allow CONNECT https://a.test/ - [tls passthrough]";
    check(r"allow: ^https://a\.test/", "a.test", "server", passed).await;
    check(r"allow-connect: ^https://a\.test/", "a.test", "server", passed).await;
    let denied = "Request Deny CONNECT https://a.test/ - [no rule matched]";
    check(r"allow-get: ^https://a\.test/", "a.test", "nobody", denied).await;
    check(r"allow: ^https://a\.test/p", "a.test", "nobody", denied).await;
    check(
        r"deny: .*",
        "a.test",
        "nobody",
        "Request Deny CONNECT https://a.test/ - [denied by rule]",
    )
    .await;
    // Addresses are checked as ever.
    let loopback = "Request Deny CONNECT https://rebound.test/ - [loopback address]";
    check(r"allow: .*", "rebound.test", "nobody", loopback).await;
}

/// A client that does not trust us, and says so as often as it likes, is not passed through for that
/// (docs/threat-model.md T06).
// Proves: T06.
#[tokio::test]
async fn no_failure_leads_to_it() {
    let jail = jail(&["allow: .*"], &["b.test"]).await;
    for _ in 0..5 {
        let refused = tls(
            jail.connect("192.0.2.1:443").await,
            &jail.world.authority,
            "a.test",
            &[],
        )
        .await;
        assert!(refused.is_err());
    }
    for nth in 1..=5 {
        let record = jail.log.nth(nth).await;
        assert_eq!(record.reason.as_deref(), Some("client refused our certificate"));
        assert_eq!(record.host.as_deref(), Some("a.test"));
    }
    assert_eq!(
        who_answers(&jail, async || jail.connect("192.0.2.1:443").await, "a.test").await,
        "httpjail"
    );
    assert_eq!(jail.world.seen.connections(), 0);
    assert_eq!(
        who_answers(&jail, async || jail.connect("192.0.2.1:443").await, "b.test").await,
        "server"
    );
}

/// A hello in single bytes is read to its end before anything is decided, and arrives whole.
#[tokio::test]
async fn a_hello_in_pieces() {
    let jail = jail(&["allow: .*"], &["a.test"]).await;
    let stream = super::support::OneByOne(jail.connect("192.0.2.1:443").await);
    let mut stream = tls(stream, &jail.world.authority, "a.test", &["http/1.1"])
        .await
        .unwrap();
    stream.write_all(ASK).await.unwrap();
    stream.flush().await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

/// Much goes through it whole, each side may end first, and the log has the exact numbers, the hello among them.
#[tokio::test]
async fn much_is_counted_to_the_byte() {
    for client_first in [true, false] {
        let jail = Jail::with(&["allow: .*"], |config| config.intercept_tls = false).await;
        let mut client = jail.connect("192.0.2.1:8008").await;
        let hello = client_hello(&jail);
        client.write_all(&hello).await.unwrap();
        let (mut server, _) = jail.world.origin.accept().await.unwrap();
        let mut first = vec![0; hello.len()];
        server.read_exact(&mut first).await.unwrap();
        assert!(first == hello);
        let much = vec![7; 6_000_001];
        let (one, other) = if client_first {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        let mut heard = Vec::new();
        let sends = async {
            one.write_all(&much).await.unwrap();
            one.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(sends, other.read_to_end(&mut heard));
        read.unwrap();
        assert!(heard == much);
        other.write_all(b"bye").await.unwrap();
        other.shutdown().await.unwrap();
        heard.clear();
        one.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"bye");
        let record = jail.log.nth(1).await;
        let (small, large) = (3, much.len() as u64);
        let (sent, received) = if client_first { (large, small) } else { (small, large) };
        assert_eq!(
            (record.bytes_in, record.bytes_out),
            (Some(hello.len() as u64 + sent), Some(received))
        );
        assert_eq!(record.reason, None);
        #[cfg(target_os = "linux")]
        assert!(jail.pipes_kept() > 0);
    }
}
