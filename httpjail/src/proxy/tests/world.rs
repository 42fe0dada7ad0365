//! The internet of the tests: names with addresses, and behind all of them two origins on loopback, one of HTTP and one
//! of HTTPS, which count who comes.

use crate::proxy::upstream::network::BoxFuture;
use crate::proxy::upstream::network::Network;
use crate::tls::{CertificateAuthority, Leaves, sni_host};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NAMES: [(&str, &[&str]); 16] = [
    ("silent.test", &["2001:db8::dead", "2001:db8::dead:1", "192.0.2.1"]),
    ("hole.test", &["2001:db8::dead"]),
    ("corp.test", &["10.0.0.9"]),
    ("one.test", &["192.0.2.4"]),
    ("two.test", &["192.0.2.5", "192.0.2.6"]),
    ("own.test", &["192.0.2.77"]),
    ("a.test", &["192.0.2.1"]),
    ("b.test", &["192.0.2.2"]),
    ("bad.test", &["192.0.2.3"]),
    ("dead.test", &["203.0.113.66"]),
    ("half.test", &["203.0.113.66", "192.0.2.1"]),
    ("inner.test", &["10.9.8.7"]),
    ("rebound.test", &["127.0.0.1"]),
    ("localhost", &["127.0.0.1"]),
    ("mixed.test", &["169.254.169.254", "192.0.2.1"]),
    ("six.test", &["::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "::1"]),
];

type Body = BoxBody<Bytes, hyper::Error>;

pub(super) struct World {
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    /// What answers at port 3128 of whatever address.
    pub(super) parent: OnceLock<SocketAddr>,
    /// Port 8008, where tests play the server byte by byte.
    played: SocketAddr,
    pub(super) origin: TcpListener,
    pub(super) authority: Arc<CertificateAuthority>,
    pub(super) seen: Arc<Seen>,
}

/// What reached the internet.
#[derive(Default)]
pub(super) struct Seen {
    dialled: Mutex<Vec<SocketAddr>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Seen {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

impl World {
    pub(super) async fn new() -> Arc<World> {
        let authority = Arc::new(CertificateAuthority::generate().unwrap());
        let leaves = Arc::new(Leaves::new(authority.clone()).unwrap());
        let seen = Arc::new(Seen::default());
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (plain, tls, origin) = (listen().await, listen().await, listen().await);
        let world = World {
            plain: plain.local_addr().unwrap(),
            tls: tls.local_addr().unwrap(),
            parent: OnceLock::new(),
            played: origin.local_addr().unwrap(),
            origin,
            authority,
            seen: seen.clone(),
        };
        tokio::spawn(accept(plain, seen.clone(), None));
        tokio::spawn(accept(tls, seen, Some(leaves)));
        Arc::new(world)
    }
}

impl World {
    /// Serves TLS as `config` has it, at port 3128.
    pub(super) async fn serve_tls(&self, config: rustls::ServerConfig, http2: bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.parent.set(listener.local_addr().unwrap()).unwrap();
        let (seen, acceptor) = (self.seen.clone(), tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, acceptor) = (seen.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, seen, http2).await;
                    }
                });
            }
        });
    }

    /// Accepts at port 3128, and says nothing.
    pub(super) async fn serve_silence(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.parent.set(listener.local_addr().unwrap()).unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(accepted) = listener.accept().await {
                held.push(accepted);
            }
        });
    }
}

impl Network for World {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        if name == "lost.test" {
            return Box::pin(std::future::pending());
        }
        let found = NAMES.iter().find(|(known, _)| *known == name);
        let answer = found.map(|(_, addresses)| addresses.iter().map(|text| text.parse().unwrap()).collect());
        Box::pin(async { answer.ok_or_else(|| io::Error::other("no such name")) })
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address.to_string() == "192.0.2.77"
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        self.seen.dialled.lock().unwrap().push(address);
        let origin = match (address.port(), self.parent.get()) {
            (8008, _) => self.played,
            (443, _) => self.tls,
            (3128, Some(parent)) => *parent,
            _ => self.plain,
        };
        Box::pin(async move {
            if address.ip().to_string().starts_with("2001:db8::dead") {
                return std::future::pending().await;
            }
            if address.ip().to_string() == "203.0.113.66" {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            TcpStream::connect(origin).await
        })
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, leaves: Option<Arc<Leaves>>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, leaves) = (seen.clone(), leaves.clone());
        tokio::spawn(async move {
            let Some(leaves) = leaves else {
                let mut preface = [0; 3];
                while stream.peek(&mut preface).await.is_ok_and(|read| (1..3).contains(&read)) {}
                return serve(stream, seen, &preface == b"PRI").await;
            };
            let Ok(hello) = tokio_rustls::LazyConfigAcceptor::new(Default::default(), stream).await else {
                return;
            };
            let mut name = sni_host(hello.client_hello().server_name())
                .unwrap()
                .unwrap()
                .to_string();
            if name == "bad.test" {
                name = "other.test".into();
            }
            let mut config = leaves.config_for(&crate::net::Host::parse(&name).unwrap()).unwrap();
            // It speaks HTTP/1.1 only.
            if name == "one.test" {
                Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
            }
            if let Ok(stream) = hello.into_stream(config).await {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                serve(stream, seen, http2).await;
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, seen: Arc<Seen>, http2: bool) {
    let service = service_fn(move |request| {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        answer(request)
    });
    let stream = TokioIo::new(stream);
    let _ = match http2 {
        true => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(stream, service)
                .await
        }
        false => {
            hyper::server::conn::http1::Builder::new()
                .max_headers(300)
                .serve_connection(stream, service)
                .with_upgrades()
                .await
        }
    };
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let full = |text: String| Full::from(text).map_err(|never| match never {}).boxed();
    Ok(match path.as_str() {
        // Each frame goes back as it comes, trailers too.
        "/echo" => {
            let announced = request.headers_mut().remove("trailer");
            let mut response = Response::new(request.into_body().boxed());
            response
                .headers_mut()
                .extend(announced.map(|names| (header::TRAILER, names)));
            response
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            let frames = [Frame::data(Bytes::from("body")), Frame::trailers(trailers)];
            let mut response = Response::new(BodyExt::boxed(Frames(frames.into())));
            response
                .headers_mut()
                .insert("trailer", HeaderValue::from_static("x-sum"));
            response
        }
        "/never" => std::future::pending().await,
        "/range" => {
            let asked = request.headers().get(header::RANGE).cloned();
            // Over HTTP/2 hyper sends what it is given, also as the answer to a HEAD.
            let text = if request.method() == http::Method::HEAD {
                ""
            } else {
                "part"
            };
            let mut response = Response::new(full(text.into()));
            response.headers_mut().insert(header::CONTENT_LENGTH, 4.into());
            *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
            response
                .headers_mut()
                .extend(asked.map(|asked| (header::CONTENT_RANGE, asked)));
            response
        }
        // Trailers-Only, as servers of gRPC say that they failed.
        "/grpc-fails" => {
            let mut response = Response::new(full(String::new()));
            let fields = [("content-type", "application/grpc"), ("grpc-status", "5")];
            response.headers_mut().extend(
                fields.map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value))),
            );
            response
        }
        "/endless" => Response::new(BodyExt::boxed(Endless)),
        "/sink" => {
            let mut total = 0;
            while let Some(Ok(frame)) = request.body_mut().frame().await {
                total += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(full(total.to_string()))
        }
        "/ws" | "/ws-liar" | "/ws-refuses" => websocket(request, &path, full(String::new())),
        _ => {
            let mut text = format!("{:?} {} {}\n", request.version(), request.method(), request.uri());
            let mut fields: Vec<_> = request.headers().iter().map(|(n, v)| format!("{n}: {v:?}\n")).collect();
            fields.sort();
            text.extend(fields);
            let mut response = Response::new(full(text));
            response
                .headers_mut()
                .insert("alt-svc", HeaderValue::from_static("h3=\":443\""));
            response
        }
    })
}

/// `/ws` upgrades and echoes; the others do not do what a WebSocket server must.
fn websocket(mut request: Request<Incoming>, path: &str, empty: Body) -> Response<Body> {
    let key = request
        .headers()
        .get("sec-websocket-key")
        .map(|key| key.as_bytes().to_owned())
        .unwrap_or_default();
    let mut response = Response::new(empty);
    if path == "/ws-refuses" {
        *response.status_mut() = http::StatusCode::UPGRADE_REQUIRED;
        return response;
    }
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let accept = match path {
        "/ws" => crate::proxy::service::websocket::accept_for(&key),
        _ => "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(),
    };
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", &accept),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await?);
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..read]).await.unwrap();
        }
        let _ = stream.shutdown().await;
        Ok::<_, hyper::Error>(())
    });
    response
}

struct Frames(std::collections::VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// A body without end; it ends when nobody reads it.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'e'; 16384])))))
    }
}
