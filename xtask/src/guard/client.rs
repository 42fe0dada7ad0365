//! The client: so many requests through the proxy, one after the other, on one connection.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::h2::{self, DATA, END_HEADERS, END_STREAM, Frame, HEADERS};
use super::origin::BODY;

/// What is asked for.
const PATH: &str = "/api/v1/items?page=2";
/// The fields of each request, besides the host.
const FIELDS: [(&str, &str); 4] = [
    ("user-agent", "guard/1.0"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
];
/// Valgrind is slow; a minute is more than a request ever takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A protocol that requests are made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 in the clear, with absolute URLs.
    Plain,
    /// HTTP/1.1 in TLS, in a tunnel that the proxy decrypts.
    Tls,
    /// HTTP/2 in the same.
    H2,
}

/// Reaches one origin through one proxy.
pub(super) struct Client {
    pub(super) proxy: SocketAddr,
    /// The port of `localhost` that is asked.
    pub(super) port: u16,
    /// What it trusts, in PEM.
    pub(super) authority: Vec<u8>,
}

impl Client {
    /// Makes `count` requests, each after the answer to the one before.
    pub(super) fn request(&self, protocol: Protocol, count: u64) -> Result<()> {
        let host = format!("localhost:{}", self.port);
        let mut stream = TcpStream::connect(self.proxy).context("connect to the proxy")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        stream.set_read_timeout(Some(PATIENCE)).context("set a time limit")?;
        let target = match protocol {
            Protocol::Plain => return http1(stream, &host, &format!("http://{host}{PATH}"), count),
            Protocol::Tls | Protocol::H2 => PATH,
        };
        write!(stream, "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n").context("ask for a tunnel")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).context("read the answer to CONNECT")?;
            answer.extend(byte);
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 200"),
            "CONNECT: {}",
            answer.escape_ascii()
        );
        let tls = self.tls(protocol)?;
        let stream = StreamOwned::new(tls, stream);
        match protocol {
            Protocol::H2 => http2(stream, &host, count),
            Protocol::Plain | Protocol::Tls => http1(stream, &host, target, count),
        }
    }

    fn tls(&self, protocol: Protocol) -> Result<ClientConnection> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(&self.authority).context("read the proxy's authority")?;
        roots.add(authority).context("trust the proxy's authority")?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("choose the protocol versions")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let alpn: &[u8] = if protocol == Protocol::H2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("localhost").context("name the origin")?;
        ClientConnection::new(Arc::new(config), name).context("begin TLS")
    }
}

fn http1(stream: impl Read + Write, host: &str, target: &str, count: u64) -> Result<()> {
    let mut request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in FIELDS {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let mut stream = BufReader::new(stream);
    for _ in 0..count {
        stream
            .get_mut()
            .write_all(request.as_bytes())
            .context("send a request")?;
        stream.get_mut().flush().context("send a request")?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = stream.read_line(&mut head).context("read an answer")?;
            ensure!(read > 0, "the proxy hung up: {head}");
        }
        ensure!(head.starts_with("HTTP/1.1 200"), "answered {head}");
        stream.read_exact(&mut [0; BODY]).context("read a body")?;
    }
    Ok(())
}

fn http2(mut stream: impl Read + Write, host: &str, count: u64) -> Result<()> {
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", host),
        (":path", PATH),
    ];
    fields.extend(FIELDS);
    let mut out = [h2::PREFACE, &h2::opening()].concat();
    for id in (1..).step_by(2).take(usize::try_from(count)?) {
        Frame {
            kind: HEADERS,
            flags: END_HEADERS | END_STREAM,
            stream: id,
            payload: h2::fields(&fields),
        }
        .write(&mut out);
        stream.write_all(&out).context("send a request")?;
        stream.flush().context("send a request")?;
        out.clear();
        let mut body = 0;
        loop {
            let frame = h2::next(&mut stream).context("read an answer")?;
            if frame.kind == DATA {
                body += frame.payload.len();
            }
            if frame.ends() {
                break;
            }
        }
        ensure!(body == BODY, "a body of {body} bytes");
    }
    Ok(())
}
