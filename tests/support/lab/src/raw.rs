//! A web server that takes nothing for granted: HTTP/1.1 alone, in cleartext on port 8008, over TLS on 8019.
//!
//! It logs each request with the bytes of its head as they came, and reads strictly: what it cannot read in one way only
//! is logged as such and ends the connection. So a test can ask how many requests arrived, and how each was written.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

use crate::Log;
use crate::authority::Authority;
use crate::origin::Origin;

/// The port it listens on.
pub const RAW_HTTP: u16 = 8008;
/// The port for TLS.
pub const RAW_HTTPS: u16 = 8019;

/// One request that arrived to its last byte, or bytes that are none.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// The head, with the empty line; or all that came, where it is no request.
    pub head: String,
    /// The body, taken out of its chunks.
    pub body: Bytes,
    /// Why these bytes are no request.
    pub fault: Option<&'static str>,
}

impl RawRequest {
    /// Method and target, and the body after a `=` where there is one.
    pub fn line(&self) -> String {
        let start = self.head.lines().next().unwrap_or_default();
        let line = start.strip_suffix(" HTTP/1.1").unwrap_or(start);
        match (self.fault, self.body.is_empty()) {
            (Some(fault), _) => format!("{fault}: {:?}", self.head),
            (None, true) => line.to_owned(),
            (None, false) => format!("{line}={}", String::from_utf8_lossy(&self.body)),
        }
    }
}

pub(crate) async fn serve(listener: TcpListener, log: Log<RawRequest>) {
    let log = Arc::new(log);
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&log)));
    }
}

pub(crate) async fn serve_tls(listener: TcpListener, origin: Arc<Origin>, log: Log<RawRequest>) {
    let log = Arc::new(log);
    while let Ok((stream, _)) = listener.accept().await {
        let (origin, log) = (Arc::clone(&origin), Arc::clone(&log));
        tokio::spawn(async move {
            let stream = opened(stream, &origin.authority).await?;
            connection(stream, log).await;
            anyhow::Ok(())
        });
    }
}

/// TLS in which nothing but HTTP/1.1 can be agreed on.
async fn opened(stream: TcpStream, authority: &Authority) -> anyhow::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let local = stream.local_addr()?;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let name = hello.client_hello().server_name().map(str::to_owned);
    let mut config = rustls::ServerConfig::clone(&*authority.config(name.as_deref(), local.ip())?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(hello.into_stream(Arc::new(config)).await?)
}

async fn connection(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: Arc<Log<RawRequest>>) {
    let mut bytes = BytesMut::new();
    loop {
        match request(&bytes) {
            Ok(Some((request, length))) => {
                let close = field(&request.head, "connection").any(|value| value == "close");
                let no_body = request.head.starts_with("HEAD ");
                log.push(request);
                drop(bytes.split_to(length));
                let answer = "HTTP/1.1 200 OK\r\nETag: 1\r\nx-ODD: 2\r\nContent-Length: 3\r\nX-Last: 3\r\n\r\nok\n";
                let answer = if no_body { &answer[..answer.len() - 3] } else { answer };
                if stream.write_all(answer.as_bytes()).await.is_err() || close {
                    return;
                }
            }
            Ok(None) => match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                // What is cut short is no request, and whoever cut it may have been right.
                Ok(0) | Err(_) => return,
            },
            Err(fault) => {
                log.push(RawRequest {
                    head: String::from_utf8_lossy(&bytes).into_owned(),
                    body: Bytes::new(),
                    fault: Some(fault),
                });
                return;
            }
        }
    }
}

/// The values of a field, which is only looked for as it must be written.
fn field<'a>(head: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = move |line: &'a str| {
        line.split_once(": ")
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
    };
    head.lines().filter_map(named).map(|(_, value)| value)
}

/// The request that `bytes` begin with, and how long it is; nothing if more must come.
fn request(bytes: &[u8]) -> Result<Option<(RawRequest, usize)>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, rest) = bytes.split_at(end + 4);
    let head = std::str::from_utf8(head).map_err(|_| "not UTF-8")?;
    let mut lines = head[..end].split("\r\n");
    if head[..end].split("\r\n").any(|line| line.contains(['\r', '\n'])) {
        return Err("odd line end");
    }
    let start = lines.next().unwrap_or_default();
    if start.split(' ').count() != 3 || !start.ends_with(" HTTP/1.1") {
        return Err("odd request line");
    }
    if !lines.all(|line| {
        line.split_once(':')
            .is_some_and(|(name, _)| !name.is_empty() && !name.contains([' ', '\t', '_']))
    }) {
        return Err("odd field");
    }
    if field(head, "host").count() != 1 {
        return Err("not one Host");
    }
    let (lengths, codings) = (field(head, "content-length"), field(head, "transfer-encoding"));
    let (lengths, codings): (Vec<_>, Vec<_>) = (lengths.collect(), codings.collect());
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some((Bytes::new(), 0)),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| "odd length")?;
            rest.get(..length).map(|body| (Bytes::copy_from_slice(body), length))
        }
        ([], ["chunked"]) => chunks(rest)?,
        _ => return Err("not one length"),
    };
    let whole = |(body, length)| {
        let head = head.to_owned();
        (
            RawRequest {
                head,
                body,
                fault: None,
            },
            end + 4 + length,
        )
    };
    Ok(body.map(whole))
}

/// The body in chunks that `bytes` begin with, and how long it is with all of them. Trailers are looked through.
fn chunks(bytes: &[u8]) -> Result<Option<(Bytes, usize)>, &'static str> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "odd chunk")?;
        let size = usize::from_str_radix(line, 16).map_err(|_| "odd chunk")?;
        at += end + 2;
        if size == 0 {
            break;
        }
        match bytes.get(at..at + size + 2) {
            None => return Ok(None),
            Some(chunk) if chunk.ends_with(b"\r\n") => body.extend_from_slice(&chunk[..size]),
            Some(_) => return Err("odd chunk"),
        }
        at += size + 2;
    }
    let trailers = &bytes[at..];
    let end = if trailers.starts_with(b"\r\n") {
        Some(2)
    } else {
        trailers
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|end| end + 4)
    };
    Ok(end.map(|end| (body.into(), at + end)))
}
