//! Tunnels that a client asks for: the kernel moves their bytes as it does those of any other tunnel, and none is lost or
//! comes twice, whoever had read it before.

use super::support::{Jail, client_hello};
use crate::audit::Record;
use crate::proxy::{Clients, ProxyAuth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than is copied before the kernel takes over, and more than the proxy holds of it before the tunnel is open.
const MUCH: u32 = 3_000_001;

/// Bytes of which no two parts look alike.
fn text(len: u32, seed: u32) -> Vec<u8> {
    (0..len)
        .map(|at| ((at ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Reads a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends `bytes` and no more, and returns what comes.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(bytes).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let (_, read) = tokio::join!(send, reader.read_to_end(&mut heard));
    read.unwrap();
    heard
}

fn check(jail: &Jail, record: &Record, sent: usize, received: usize) {
    assert_eq!(
        (record.bytes_in, record.bytes_out),
        (Some(sent as u64), Some(received as u64))
    );
    assert_eq!(record.complete, None);
    assert!(jail.pipes_kept() > 0 || !cfg!(target_os = "linux"));
}

/// What follows a CONNECT is sent with it, before it is granted.
#[tokio::test]
async fn by_connect() {
    for explicit in [true, false] {
        let jail = Jail::with(&["allow: .*"], |config| {
            config.intercept_tls = false;
            if explicit {
                config.clients = Clients::Explicit(ProxyAuth::Open);
            }
        })
        .await;
        let mut client = jail.connect("192.0.2.9:3128").await;
        let asked = b"CONNECT a.test:8008 HTTP/1.1\r\nHost: a.test:8008\r\n\r\n";
        let sent = [client_hello(&jail), text(MUCH, 0)].concat();
        let received = text(MUCH, 1);
        let server = async {
            let (mut server, _) = jail.world.origin.accept().await.unwrap();
            exchange(&mut server, &received).await
        };
        let client = async {
            let heard = exchange(&mut client, &[&asked[..], &sent].concat()).await;
            let head = heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            assert!(heard.starts_with(b"HTTP/1.1 200"));
            heard[head + 4..].to_vec()
        };
        let (server_heard, client_heard) = tokio::join!(server, client);
        assert!(server_heard == sent && client_heard == received, "{explicit}");
        check(&jail, &jail.log.nth(1).await, sent.len(), received.len());
    }
}

/// Both sides send their first frames with their heads.
#[tokio::test]
async fn by_websocket() {
    let jail = Jail::new(&["allow: .*"]).await;
    let mut client = jail.connect("192.0.2.1:8008").await;
    let knock = b"GET /ws HTTP/1.1\r\nHost: a.test:8008\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let opened = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let (sent, received) = (text(MUCH, 2), text(MUCH, 3));
    let server = async {
        let (mut server, _) = jail.world.origin.accept().await.unwrap();
        assert!(head(&mut server).await.starts_with("GET /ws HTTP/1.1"));
        exchange(&mut server, &[&opened[..], &received].concat()).await
    };
    let client = async {
        let heard = exchange(&mut client, &[&knock[..], &sent].concat()).await;
        let head = heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        assert!(heard.starts_with(b"HTTP/1.1 101"));
        heard[head + 4..].to_vec()
    };
    let (server_heard, client_heard) = tokio::join!(server, client);
    assert!(server_heard == sent && client_heard == received);
    check(&jail, &jail.log.nth(1).await, sent.len(), received.len());
}
