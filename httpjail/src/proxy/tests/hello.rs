//! The local leg's TLS: ClientHellos as odd as they come (docs/threat-model.md T02 to T04, T07 to T09).

use super::support::{Jail, OneByOne, gist, tls, tls_client};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// A handshake as `change` has it, and a request: the URL that was recorded, or the reason why there is none.
async fn shake(jail: &Jail, destination: &str, name: &str, change: impl FnOnce(&mut ClientConfig)) -> String {
    let seen = jail.log.count();
    let mut config = tls_client(jail.authority());
    change(&mut config);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = jail.connect(destination).await;
    if let Ok(stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        say(stream, GET).await;
    }
    gist(&jail.log.nth(seen + 1).await)
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(mut stream: TlsStream<S>, words: &[u8]) -> String {
    stream.write_all(words).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // A close without notice is all the same here.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const SERVED: &str = "Request Allow GET https://a.test/ 200 [-]";

// Proves: T09.
#[tokio::test]
async fn in_pieces_and_oversized() {
    let jail = Jail::new(&["allow: .*"]).await;
    let at = "192.0.2.1:443";
    assert_eq!(shake(&jail, at, "a.test", |_| {}).await, SERVED);
    // Many records, the smallest that rustls makes.
    assert_eq!(
        shake(&jail, at, "a.test", |config| config.max_fragment_size = Some(32)).await,
        SERVED
    );
    let padded = |bytes: usize| {
        move |config: &mut ClientConfig| {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.alpn_protocols.extend((0..bytes / 256).map(|_| vec![b'x'; 255]));
        }
    };
    // More than a record holds (16 KiB), up to what a handshake message may have here (64 KiB).
    assert_eq!(shake(&jail, at, "a.test", padded(2 << 10)).await, SERVED);
    assert_eq!(shake(&jail, at, "a.test", padded(20 << 10)).await, SERVED);
    assert_eq!(shake(&jail, at, "a.test", padded(60 << 10)).await, SERVED);
    // One byte a segment.
    let stream = OneByOne(jail.connect(at).await);
    let stream = tls(stream, jail.authority(), "a.test", &[]).await.unwrap();
    assert!(say(stream, GET).await.starts_with("HTTP/1.1 200"));
}

/// The host of a connection without an SNI is the address, or the name that was made up for it.
// Proves: T02.
#[tokio::test]
async fn without_a_name() {
    let jail = Jail::new(&["allow: .*"]).await;
    let check = async |destination: &str, name: &str, host: &str| {
        let seen = jail.log.count();
        let mut config = tls_client(jail.authority());
        config.enable_sni = false;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = jail.connect(destination).await;
        // The client verifies that the certificate is for `name`.
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        say(
            stream,
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        gist(&jail.log.nth(seen + 1).await)
    };
    assert_eq!(check("198.18.0.1:443", "a.test", "a.test").await, SERVED);
    let other = "Request Deny GET https://b.test/ 421 [host mismatch]";
    assert_eq!(check("198.18.0.1:443", "a.test", "b.test").await, other);
    // Its server shows a certificate for something else; what counts is that we got there.
    let address = check("192.0.2.1:443", "192.0.2.1", "192.0.2.1").await;
    assert!(
        address.starts_with("Request Allow GET https://192.0.2.1/ 502"),
        "{address}"
    );
    let six = check("[2001:db8::1]:443", "2001:db8::1", "[2001:db8::1]").await;
    assert!(six.starts_with("Request Allow GET https://[2001:db8::1]/"), "{six}");
    // By the same way to another's name.
    let named = check("192.0.2.1:443", "192.0.2.1", "a.test").await;
    assert_eq!(named, "Request Deny GET https://a.test/ 421 [host mismatch]");
}

// Proves: T08.
#[tokio::test]
async fn protocols() {
    let jail = Jail::new(&["allow: .*"]).await;
    let check = async |offered: &[&str], expected: &str| {
        let alpn = |config: &mut ClientConfig| {
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        };
        assert_eq!(
            shake(&jail, "192.0.2.1:443", "a.test", alpn).await,
            expected,
            "{offered:?}"
        );
    };
    let refused = "Refused Deny - - - [tls handshake failed]";
    check(&[], SERVED).await;
    check(&["http/1.1"], SERVED).await;
    check(&["h3", "spdy/3", "http/1.1"], SERVED).await;
    check(&["ssh"], refused).await;
    check(&["h3"], refused).await;
    check(&["http/1.0", "imap"], refused).await;
}

/// An extension of a ClientHello.
fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &length(body.len()), body].concat()
}

fn length(of: usize) -> [u8; 2] {
    u16::try_from(of).unwrap().to_be_bytes()
}

/// The server_name extension with these names (RFC 6066 section 3).
fn names(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[0][..], &length(name.len()), name].concat())
        .collect();
    extension(0, &[&length(list.len()), &list[..]].concat())
}

/// A ClientHello by hand: what everybody sends, and `more`.
fn hello(version: [u8; 2], more: &[u8]) -> Vec<u8> {
    let mut extensions = vec![
        extension(10, &[0, 4, 0, 0x1d, 0, 0x17]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        extension(51, &[&[0, 36, 0, 0x1d, 0, 32][..], &[9; 32]].concat()),
    ];
    if version == [3, 3] {
        extensions.push(extension(43, &[4, 3, 4, 3, 3]));
    }
    extensions.push(more.to_vec());
    let extensions = extensions.concat();
    let ciphers = [0x0a, 0x0a, 0x13, 0x01, 0xc0, 0x2b, 0xc0, 0x2f, 0x00, 0x2f];
    let body = [
        &version[..],
        &[7; 32],
        &[0],
        &length(ciphers.len()),
        &ciphers,
        &[1, 0],
        &length(extensions.len()),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[0x16, 3, 1][..], &length(message.len()), &message].concat()
}

/// The ClientHello of an ordinary client for `host`.
pub(super) fn plain(host: &str) -> Vec<u8> {
    hello([3, 3], &names(&[host.as_bytes()]))
}

/// What comes back to such a hello: `served`, or the reason in the log.
async fn answer(hello: Vec<u8>) -> String {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut stream = jail.connect("192.0.2.1:443").await;
    stream.write_all(&hello).await.unwrap();
    let mut first = [0];
    let read = stream.read(&mut first).await;
    if first == [0x16] {
        return "served".into();
    }
    assert!(matches!(read, Ok(0) | Err(_)) || first == [0x15], "{first:?}");
    assert_eq!(jail.world.seen.connections(), 0);
    let reason = jail.log.nth(1).await.reason.unwrap();
    // No certificate is made for what is no name.
    assert!(!reason.starts_with("malformed") || jail.minted() == 0, "{reason}");
    reason
}

// Proves: T03.
#[tokio::test]
async fn server_names() {
    let long = [b"a".repeat(63), b"b".repeat(63), b"c".repeat(63), b"d".repeat(61)].join(&b'.');
    for good in [
        &b"a.test"[..],
        b"A.tEst",
        b"a.test.",
        b"_x.a_b.test",
        b"xn--bcher-kva.test",
        &long,
    ] {
        assert_eq!(
            answer(hello([3, 3], &names(&[good]))).await,
            "served",
            "{}",
            good.escape_ascii()
        );
    }
    let longer = [&long[..], b"e"].concat();
    // An address is no server name (RFC 6066 section 3): as good as none, and the connection's own address counts.
    for address in [&b"192.0.2.9"[..], b"2001:db8::1"] {
        assert_eq!(answer(hello([3, 3], &names(&[address]))).await, "served");
    }
    let bad = [
        &b"127.1"[..],
        b"0x7f.1",
        b"[2001:db8::1]",
        b"*.a.test",
        b"a..test",
        b".a.test",
        b".",
        b"",
        b"a.test\0.b.test",
        b"a.test\n",
        b"a test",
        b"a.test:443",
        b"user@a.test",
        b"b\xc3\xbccher.test",
        b"a%2etest",
        &longer,
        &b"x".repeat(300),
        &b"x".repeat(9000),
    ];
    for bad in bad {
        let said = answer(hello([3, 3], &names(&[bad]))).await;
        assert!(
            said == "malformed server name" || said == "malformed tls",
            "{}: {said}",
            bad.escape_ascii()
        );
    }
    let said = answer(hello([3, 3], &names(&[b"a.test", b"b.test"]))).await;
    assert_eq!(said, "malformed tls", "two names");
    let said = answer(hello([3, 3], &[names(&[b"a.test"]), names(&[b"a.test"])].concat())).await;
    assert_eq!(said, "malformed tls", "two extensions");
}

// Proves: T04, T07.
#[tokio::test]
async fn versions_and_extensions() {
    let name = names(&[b"a.test"]);
    let with = |more: Vec<u8>| [name.clone(), more].concat();
    assert_eq!(answer(hello([3, 3], &name)).await, "served");
    // TLS 1.0, TLS 1.1, and what calls itself neither.
    for old in [[3, 1], [3, 2], [3, 0]] {
        let said = answer(hello(old, &name)).await;
        assert!(
            said == "malformed tls" || said == "tls handshake failed",
            "{old:?}: {said}"
        );
    }
    // GREASE (RFC 8701) and the ECH that everybody's browser makes up (RFC 9849 section 6.2).
    let ech = [&[0, 0, 1, 0, 1, 7][..], &length(32), &[5; 32], &length(144), &[6; 144]].concat();
    assert_eq!(answer(hello([3, 3], &with(extension(0xfe0d, &ech)))).await, "served");
    assert_eq!(answer(hello([3, 3], &with(extension(0x4a4a, &[])))).await, "served");
    // Secure renegotiation and early data are offered to nobody who did not ask, and refuse nobody who did.
    assert_eq!(answer(hello([3, 3], &with(extension(0xff01, &[0])))).await, "served");
    assert_eq!(answer(hello([3, 3], &with(extension(42, &[])))).await, "served");
    let mut cut = hello([3, 3], &name);
    cut[3..5].copy_from_slice(&length(4));
    assert_eq!(answer(cut).await, "malformed tls");
    let huge = [&[0x16, 3, 1, 0x40, 0, 1, 1, 0, 0][..], &[0; 0x4000 - 4]].concat();
    assert_eq!(answer(huge).await, "malformed tls", "a hello that says it has 64 KiB");
}
