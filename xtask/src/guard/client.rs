//! The client: requests or handshakes through the proxy, one after the other.

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

/// Reaches hosts through one proxy.
pub(super) struct Client {
    pub(super) proxy: SocketAddr,
    /// What it trusts, in PEM.
    pub(super) authority: Vec<u8>,
}

impl Client {
    /// Makes `count` requests of `localhost` on one connection, each after the answer to the one before.
    pub(super) fn request(&self, protocol: Protocol, port: u16, count: u64) -> Result<()> {
        let host = format!("localhost:{port}");
        match protocol {
            Protocol::Plain => http1(self.connect()?, &host, &format!("http://{host}{PATH}"), count),
            Protocol::Tls => http1(self.open("localhost", port, b"http/1.1")?, &host, PATH, count),
            Protocol::H2 => http2(self.open("localhost", port, b"h2")?, &host, count),
        }
    }

    /// Makes `count` connections with TLS, with a name each if they are `new`. Each ends when its handshake is over.
    pub(super) fn shake_hands(&self, new: bool, count: u64) -> Result<()> {
        for nth in 0..count {
            let host = if new {
                format!("n{nth}.test")
            } else {
                "n.test".to_owned()
            };
            let mut stream = self.open(&host, 443, b"http/1.1")?;
            // It comes after the handshake; without it the proxy might find us gone before it is through.
            while stream.conn.tls13_tickets_received() == 0 {
                stream.conn.complete_io(&mut stream.sock).context("wait for a ticket")?;
            }
            stream.conn.send_close_notify();
            stream.flush().context("end a connection")?;
            stream
                .sock
                .read_to_end(&mut Vec::new())
                .context("wait for the end of a connection")?;
        }
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.proxy).context("connect to the proxy")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        stream.set_read_timeout(Some(PATIENCE)).context("set a time limit")?;
        Ok(stream)
    }

    /// Opens a tunnel to a host, and TLS in it.
    fn open(&self, host: &str, port: u16, alpn: &[u8]) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut stream = self.connect()?;
        write!(stream, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n").context("ask for a tunnel")?;
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
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(&self.authority).context("read the proxy's authority")?;
        roots.add(authority).context("trust the proxy's authority")?;
        // A new configuration for each: it knows of no session to resume.
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("choose the protocol versions")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(host.to_owned()).context("name the host")?;
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("shake hands")?;
        }
        Ok(stream)
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
