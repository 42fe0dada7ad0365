//! A server of HTTP/1.1 over TLS that is little more than rustls: `endpoint LISTEN CERTIFICATE.pem KEY.pem`.
//!
//! It answers `GET /0` with an empty body, `GET /down` with as many bytes as the field `x-bytes` says, `PUT /up` when it has read
//! the body, and `GET /events` with so many events, a millisecond apart, that say when they were sent. It is the limit for new
//! connections, and the origin of what is large or slow.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Failed = Box<dyn Error + Send + Sync>;

const CHUNK: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, certificate, key] = arguments.as_slice() else {
        return Err("usage: endpoint LISTEN CERTIFICATE.pem KEY.pem".into());
    };
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate)?],
            PrivateKeyDer::from_pem_file(key)?,
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 1;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        // A client that goes away is none of the server's faults.
        tokio::spawn(async move { serve(tcp, &acceptor).await });
    }
}

async fn serve(tcp: TcpStream, acceptor: &TlsAcceptor) -> Result<(), Failed> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let mut received = Vec::with_capacity(CHUNK);
    let chunk = vec![b'x'; CHUNK];
    loop {
        let end = loop {
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let field = |wanted: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            let found = fields.find(|(name, _)| *name == wanted);
            found
                .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                .unwrap_or(0)
        };
        let (mut to_read, wanted) = (field("content-length"), field("x-bytes"));
        let here = received.len() - end;
        received.clear();
        to_read = to_read.checked_sub(here).ok_or("more than one request")?;
        while to_read > 0 {
            let read = stream.read_buf(&mut received).await?;
            received.clear();
            to_read = to_read
                .checked_sub(read)
                .filter(|_| read > 0)
                .ok_or("not the body's end")?;
        }
        let (path, events) = (head.split(' ').nth(1).unwrap_or_default(), head.contains("/events"));
        let bytes = if path.ends_with("/down") { wanted } else { 0 };
        if events {
            send_events(&mut stream, wanted).await?;
            continue;
        }
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes())
            .await?;
        let mut left = bytes;
        while left > 0 {
            let written = stream.write(&chunk[..left.min(CHUNK)]).await?;
            left -= written;
        }
        stream.flush().await?;
    }
}

async fn send_events(stream: &mut tokio_rustls::server::TlsStream<TcpStream>, count: usize) -> Result<(), Failed> {
    let length = count * EVENT;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    for _ in 0..count {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
        stream.write_all(format!("data: {now:020}\n\n").as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// `data: `, twenty digits, and an empty line.
const EVENT: usize = 28;
