//! The web servers of the world: HTTP/1.1 on 80, HTTPS with HTTP/1.1 and h2 on 443, on every address there is.
//!
//! Each request that arrives is logged as it arrived, whatever its sender says about it. Paths: `/headers` (the request
//! headers as JSON), `/echo` (the body), `/bytes/N`, `/flood/N` (the same in pieces), `/count` (how long the body was, of which
//! nothing is kept), `/status/N`, `/slow/MS`, `/stream/N` (N server-sent events), `/git/...` (a repository for the dumb
//! protocol); anything else is a greeting.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

use crate::Log;
use crate::authority::Authority;

/// One request as it reached a server.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The authority: h2's `:authority`, else the Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: String,
    /// All headers in order.
    pub headers: Vec<(String, String)>,
    /// The server name of the TLS handshake; `None` for cleartext or where the client sent none.
    pub sni: Option<String>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The address that was dialled.
    pub local: SocketAddr,
    /// Who dialled.
    pub peer: SocketAddr,
    /// The whole body.
    pub body: Bytes,
}

/// What all connections of the origins share.
pub(crate) struct Origin {
    pub(crate) authority: Authority,
    pub(crate) log: Log<Seen>,
    pub(crate) git_root: PathBuf,
}

#[derive(Clone)]
struct Connection {
    origin: Arc<Origin>,
    tls: bool,
    sni: Option<String>,
    local: SocketAddr,
    peer: SocketAddr,
}

type Body = BoxBody<Bytes, Infallible>;

pub(crate) async fn serve(listener: TcpListener, tls: bool, origin: Arc<Origin>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let origin = Arc::clone(&origin);
        tokio::spawn(async move {
            // A client that hangs up is its own business; what arrived before is in the log.
            let _ = connection(stream, peer, tls, origin).await;
        });
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: bool, origin: Arc<Origin>) -> Result<()> {
    let local = stream.local_addr()?;
    let mut about = Connection {
        origin,
        tls,
        sni: None,
        local,
        peer,
    };
    if !tls {
        return http(stream, false, about).await;
    }
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    about.sni = hello.client_hello().server_name().map(str::to_owned);
    let config = about.origin.authority.config(about.sni.as_deref(), local.ip())?;
    let stream = hello.into_stream(config).await?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    http(stream, h2, about).await
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, h2: bool, about: Connection) -> Result<()> {
    let service = service_fn(move |request| respond(request, about.clone()));
    if h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await?;
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await?;
    }
    Ok(())
}

async fn respond(request: Request<Incoming>, about: Connection) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let host = head.uri.authority().map(ToString::to_string).or_else(|| {
        headers
            .iter()
            .find(|(name, _)| name == "host")
            .map(|(_, value)| value.clone())
    });
    // Logged before the body is awaited: a request whose body never ends has reached us all the same.
    let entry = about.origin.log.push(Seen {
        method: head.method.to_string(),
        host: host.unwrap_or_default(),
        path: head
            .uri
            .path_and_query()
            .map_or_else(|| head.uri.to_string(), ToString::to_string),
        version: format!("{:?}", head.version),
        headers: headers.clone(),
        sni: about.sni,
        tls: about.tls,
        local: about.local,
        peer: about.peer,
        body: Bytes::new(),
    });
    if head.uri.path() == "/count" {
        return Ok(plain(StatusCode::OK, length(body).await?.to_string().into()));
    }
    let body = body.collect().await?.to_bytes();
    about.origin.log.change(entry, |seen| seen.body = body.clone());

    let path = head.uri.path();
    let (kind, argument) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_start_matches('/'), ""));
    let number = || argument.parse::<u64>().unwrap_or(0);
    let response = match kind {
        "headers" => json(&serde_json::json!({ "method": head.method.as_str(), "headers": headers })),
        "echo" => plain(StatusCode::OK, body),
        "bytes" => plain(StatusCode::OK, vec![b'x'; usize::try_from(number())?].into()),
        "status" => plain(
            StatusCode::from_u16(u16::try_from(number())?)?,
            Bytes::from_static(b"as asked\n"),
        ),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number())).await;
            plain(StatusCode::OK, Bytes::from_static(b"at last\n"))
        }
        "flood" => flood(number()),
        "stream" => events(number()),
        "git" => file(&about.origin.git_root, argument),
        _ => plain(StatusCode::OK, Bytes::from_static(b"hello from the world\n")),
    };
    // Over HTTP/2 hyper would send one all the same.
    Ok(match head.method {
        Method::HEAD => response.map(|_| Full::new(Bytes::new()).boxed()),
        _ => response,
    })
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    response
}

fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = plain(StatusCode::OK, value.to_string().into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

async fn length(mut body: Incoming) -> Result<usize> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}

fn flood(mut left: u64) -> Response<Body> {
    static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    pieces(std::iter::from_fn(move || {
        let piece = PIECE
            .get(..usize::try_from(left).unwrap_or(usize::MAX))
            .unwrap_or(&PIECE);
        left -= piece.len() as u64;
        (!piece.is_empty()).then_some(Bytes::from_static(piece))
    }))
}

fn pieces(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Response<Body> {
    let (mut send, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        for piece in pieces {
            if send.send_data(piece).await.is_err() {
                return;
            }
        }
    });
    Response::new(body.boxed())
}

fn events(count: u64) -> Response<Body> {
    let mut response = pieces((0..count).map(|number| Bytes::from(format!("data: {number}\n\n"))));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream"),
    );
    response
}

fn file(root: &Path, name: &str) -> Response<Body> {
    let inside = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match std::fs::read(root.join(name)) {
        Ok(bytes) if inside => plain(StatusCode::OK, bytes.into()),
        _ => plain(StatusCode::NOT_FOUND, Bytes::from_static(b"no such file\n")),
    }
}
