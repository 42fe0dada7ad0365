//! The load: reads `PROTOCOL RATE SECONDS ORIGIN [PROXY]` from each line of its input, and does it.
//!
//! PROTOCOL is `http1`, `https1` (16 connections, or 4 when there is a rate) or `h2` (4 connections of 8 streams); RATE is in
//! requests a second, 0 for as many as there can be. It prints `go` when it is warm, and `REQUESTS P50 P99` (microseconds) at the
//! end. It reads from its input so that one can stay in a jail for the whole bench. It does not check certificates, and it fails
//! when one request fails.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

type Failed = Box<dyn Error + Send + Sync>;
type Stream = Box<dyn Duplex>;
type Body = Empty<Bytes>;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const ENDING: u8 = 2;
const WARM_UP: Duration = Duration::from_millis(500);
const BODY: usize = 1024;

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    // Nothing else runs between two loads, so that the blocking read is no harm.
    for line in std::io::stdin().lines() {
        let line = line?;
        match load(&line.split_whitespace().collect::<Vec<_>>()).await {
            Ok(figures) => println!("{figures}"),
            Err(error) => println!("failed: {error}"),
        }
    }
    Ok(())
}

async fn load(line: &[&str]) -> Result<String, Failed> {
    let &[protocol, rate, seconds, origin, ref proxy @ ..] = line else {
        return Err("four words or five".into());
    };
    let proxy = proxy.first();
    let (rate, seconds): (u32, f64) = (rate.parse()?, seconds.parse()?);
    let (connections, streams) = match (protocol, rate) {
        ("h2", _) => (4, 8),
        (_, 0) => (16, 1),
        _ => (4, 1),
    };
    let absolute = match (protocol, proxy) {
        ("http1", Some(_)) => format!("http://{origin}/"),
        ("h2", _) => format!("https://{origin}/"),
        _ => "/".to_owned(),
    };
    let request = Request::get(absolute).header("accept", "*/*");
    let request = if protocol == "h2" {
        request
    } else {
        request.header("host", origin)
    }
    .body(Body::new())?;

    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let sender = timeout(Duration::from_secs(10), connect(protocol, origin, proxy.copied())).await??;
        let each = (rate > 0).then(|| Duration::from_secs(connections * streams) / rate);
        match sender {
            Sender::One(sender) => tasks.push(tokio::spawn(repeat(
                Sender::One(sender),
                request.clone(),
                each,
                phase.clone(),
            ))),
            Sender::Two(sender) => tasks.extend((0..streams).map(|_| {
                tokio::spawn(repeat(
                    Sender::Two(sender.clone()),
                    request.clone(),
                    each,
                    phase.clone(),
                ))
            })),
        }
        if let Some(each) = each {
            // The connections take turns.
            sleep(each / u32::try_from(connections)?).await;
        }
    }
    sleep(WARM_UP).await;
    phase.store(MEASURING, Ordering::Relaxed);
    println!("go");
    std::io::stdout().flush()?;
    sleep(Duration::from_secs_f64(seconds)).await;
    phase.store(ENDING, Ordering::Relaxed);
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    took.sort_unstable();
    let at = |share: f64| {
        took.get((took.len() as f64 * share) as usize)
            .map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    Ok(format!("{} {:.0} {:.0}", took.len(), at(0.5), at(0.99)))
}

async fn repeat(
    mut sender: Sender,
    request: Request<Body>,
    each: Option<Duration>,
    phase: Arc<AtomicU8>,
) -> Result<Vec<Duration>, Failed> {
    let mut took = Vec::new();
    let mut ticks = each.map(interval);
    if let Some(ticks) = &mut ticks {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    }
    loop {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let start = Instant::now();
        let response = timeout(Duration::from_secs(10), sender.send(request.clone())).await??;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if (status, body.len()) != (StatusCode::OK, BODY) {
            return Err(format!("{status} with {} bytes", body.len()).into());
        }
        match phase.load(Ordering::Relaxed) {
            WARMING => {}
            MEASURING => took.push(start.elapsed()),
            _ => return Ok(took),
        }
    }
}

impl Sender {
    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

async fn connect(protocol: &str, origin: &str, proxy: Option<&str>) -> Result<Sender, Failed> {
    let tcp = TcpStream::connect(proxy.unwrap_or(origin)).await?;
    tcp.set_nodelay(true)?;
    let mut stream: Stream = Box::new(tcp);
    if protocol == "http1" {
        return over_http1(stream).await;
    }
    if proxy.is_some() {
        stream
            .write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("CONNECT: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let wanted: &[u8] = if protocol == "h2" { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![wanted.to_vec()];
    let host = origin.rsplit_once(':').map_or(origin, |(host, _)| host).to_owned();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(host)?, stream)
        .await?;
    if tls.get_ref().1.alpn_protocol().is_some_and(|got| got != wanted) {
        return Err("another protocol than asked for".into());
    }
    if protocol != "h2" {
        return over_http1(Box::new(tls)).await;
    }
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(Box::new(tls) as Stream)).await?;
    tokio::spawn(connection);
    Ok(Sender::Two(sender))
}

async fn over_http1(stream: Stream) -> Result<Sender, Failed> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Sender::One(sender))
}

/// Every certificate will do.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
