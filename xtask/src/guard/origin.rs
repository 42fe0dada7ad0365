//! The server behind the proxy: it answers every request with the same kilobyte, in HTTP/1.1, in HTTPS/1.1 and in h2.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::h2::{self, DATA, END_HEADERS, END_STREAM, Frame, HEADERS};

/// How long a body is.
pub(super) const BODY: usize = 1024;

/// The fields of each answer.
const FIELDS: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("server", "origin"),
    ("date", "Mon, 30 Nov 2026 08:00:00 GMT"),
    ("etag", "\"5f3c-1a2b\""),
];

/// Where it listens, and what clients must trust. Its threads end with the process.
pub(super) struct Origin {
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) certificate: String,
}

impl Origin {
    /// Serves on two ports of the loopback interface.
    pub(super) fn start() -> Result<Origin> {
        let key = KeyPair::generate().context("generate the origin's key")?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .context("sign the origin's certificate")?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("choose the protocol versions")?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der)
            .context("build the origin's TLS")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Origin {
            plain: listen(None)?,
            tls: listen(Some(Arc::new(config)))?,
            certificate: certificate.pem(),
        })
    }
}

fn listen(tls: Option<Arc<ServerConfig>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen as the origin")?;
    let address = listener.local_addr().context("the origin's address")?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let tls = tls.clone();
            // It ends when the proxy hangs up, and how is no matter.
            thread::spawn(move || serve(stream, tls));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let Some(config) = tls else { return http1(stream) };
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    match stream.conn.alpn_protocol() {
        Some(b"h2") => http2(stream),
        _ => http1(stream),
    }
}

fn http1(stream: impl Read + Write) -> Result<()> {
    let mut answer = "HTTP/1.1 200 OK\r\n".to_owned();
    for (name, value) in FIELDS {
        answer += &format!("{name}: {value}\r\n");
    }
    let answer = [answer.as_bytes(), b"\r\n", &[b'x'; BODY]].concat();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            stream.get_mut().write_all(&answer)?;
            stream.get_mut().flush()?;
        }
        line.clear();
    }
    Ok(())
}

fn http2(mut stream: impl Read + Write) -> Result<()> {
    stream.read_exact(&mut [0; h2::PREFACE.len()])?;
    stream.write_all(&h2::opening())?;
    let fields = [&[(":status", "200")], &FIELDS[..]].concat();
    loop {
        let request = h2::next(&mut stream)?;
        if !request.ends() {
            continue;
        }
        let mut answer = Vec::new();
        let frame = |kind, flags, payload| Frame {
            kind,
            flags,
            stream: request.stream,
            payload,
        };
        frame(HEADERS, END_HEADERS, h2::fields(&fields)).write(&mut answer);
        frame(DATA, END_STREAM, vec![b'x'; BODY]).write(&mut answer);
        stream.write_all(&answer)?;
        stream.flush()?;
    }
}
