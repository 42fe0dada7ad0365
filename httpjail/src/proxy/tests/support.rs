//! A proxy with stand-ins for everything around it, and clients to knock at it.

use super::world::World;
use crate::audit::{Record, Sink};
use crate::net::{
    Asked, ClientAddr, Flow, Host, NameSource, Opener, OriginalDst, OriginalDstSource, Process, Program, ProgramSource,
};
use crate::policy::{Policy, Rule, Source};
use crate::proxy::{Clients, Config, Limits, Mode, Proxy, ProxyConfig};
use crate::tls::{AuthorityFile, CertificateAuthority, Leaves, UpstreamTls};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

pub(super) struct Jail {
    pub(super) world: Arc<World>,
    pub(super) log: Arc<Log>,
    proxy: Proxy,
    address: SocketAddr,
    flows: Arc<Flows>,
    authority: Arc<CertificateAuthority>,
}

impl Jail {
    pub(super) async fn new(rules: &[&str]) -> Jail {
        Jail::with(rules, |_| {}).await
    }

    /// A jail whose proxy differs from the usual.
    pub(super) async fn with(rules: &[&str], change: impl FnOnce(&mut Config)) -> Jail {
        let world = World::new().await;
        let (log, flows) = (Arc::new(Log::default()), Arc::new(Flows::default()));
        let authority = Arc::new(CertificateAuthority::generate().unwrap());
        let trusted = [AuthorityFile {
            path: "world.pem".into(),
            pem: world.authority.certificate_pem().as_bytes().to_vec(),
        }];
        let mut config = Config {
            policy: Arc::new(ArcSwap::from_pointee(policy(rules))),
            approvals: None,
            mode: Mode::Enforce,
            intercept_tls: true,
            passthrough: Vec::new(),
            clients: Clients::Steered(flows.clone()),
            programs: Arc::new(Programs),
            names: Arc::new(Names),
            leaves: Arc::new(Leaves::new(authority.clone()).unwrap()),
            upstream_tls: Arc::new(UpstreamTls::new(&trusted, Some(&authority)).unwrap()),
            audit: log.clone(),
            network: world.clone(),
            upstream_proxies: ProxyConfig::default(),
            itself: Vec::new(),
            limits: Limits::default(),
            allocated: || 0,
        };
        change(&mut config);
        let proxy = Proxy::new(config);
        let mut jail = Jail {
            world,
            log,
            proxy,
            address: ([127, 0, 0, 1], 0).into(),
            flows,
            authority,
        };
        jail.serve_until(std::future::pending());
        jail
    }

    /// Serves on one more address, which clients use from here on, until `shutdown`.
    pub(super) fn serve_until(
        &mut self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<std::io::Result<()>> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.address = listener.local_addr().unwrap();
        tokio::spawn(self.proxy.clone().run(vec![listener], shutdown))
    }

    /// What the jail trusts.
    pub(super) fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// For how many hosts there is a certificate.
    pub(super) fn minted(&self) -> usize {
        self.proxy.context.config.leaves.count()
    }

    /// How many empty pipes are kept for tunnels.
    pub(super) fn pipes_kept(&self) -> usize {
        self.proxy.context.pipes.kept()
    }

    /// A connection that the jailed program made towards `destination`.
    pub(super) async fn connect(&self, destination: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let flow = Flow {
            original: OriginalDst(destination.parse().unwrap()),
            opener: Some(Opener::Process(Process {
                pid: 77,
                comm: "client".into(),
            })),
            cgroup: Some(5),
        };
        self.flows.0.lock().unwrap().insert(socket.local_addr().unwrap(), flow);
        socket.connect(self.address).await.unwrap()
    }

    /// One that the flow source knows nothing of.
    pub(super) async fn connect_unknown(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the proxy closes. Status lines are what is mostly looked at.
    pub(super) async fn raw(&self, destination: &str, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect(destination).await;
        // Either may fail where the proxy closes at once.
        let _ = stream.write_all(bytes.as_ref()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) async fn try_tls(
        &self,
        destination: &str,
        sni: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        tls(self.connect(destination).await, &self.authority, sni, alpn).await
    }

    /// TLS through a tunnel that is open already.
    pub(super) async fn tls_through(&self, tunnel: TcpStream, sni: &str) -> std::io::Result<TlsStream<TcpStream>> {
        tls(tunnel, &self.authority, sni, &["http/1.1"]).await
    }

    pub(super) async fn http1(&self, destination: &str) -> http1::SendRequest<Full<Bytes>> {
        http1_on(self.connect(destination).await).await
    }

    pub(super) async fn https1(&self, sni: &str) -> http1::SendRequest<Full<Bytes>> {
        http1_on(self.try_tls("192.0.2.1:443", sni, &["http/1.1"]).await.unwrap()).await
    }

    pub(super) async fn https2(&self, sni: &str) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.try_tls("192.0.2.1:443", sni, &["h2"]).await.unwrap();
        http2_on(stream).await
    }

    /// `GET` of an absolute URL in cleartext, on a connection of its own: status and body.
    pub(super) async fn get(&self, destination: &str, host: &str, path: &str) -> (u16, String) {
        let request = Request::builder()
            .uri(path)
            .header("host", host)
            .body(Full::default())
            .unwrap();
        text(self.http1(destination).await.send_request(request).await.unwrap()).await
    }
}

/// A stream that sends byte by byte, each in a segment of its own.
pub(super) struct OneByOne(pub(super) TcpStream);

impl AsyncRead for OneByOne {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for OneByOne {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.set_nodelay(true)?;
        Pin::new(&mut self.0).poll_write(cx, &bytes[..1.min(bytes.len())])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

pub(super) async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    authority: &CertificateAuthority,
    sni: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<S>> {
    let mut config = tls_client(authority);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The first bytes of a client that wants `a.test`.
pub(super) fn client_hello(jail: &Jail) -> Vec<u8> {
    let config = Arc::new(tls_client(&jail.world.authority));
    let mut bytes = Vec::new();
    let mut connection = rustls::ClientConnection::new(config, ServerName::try_from("a.test").unwrap()).unwrap();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A client that trusts `authority` alone.
pub(super) fn tls_client(authority: &CertificateAuthority) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(super) async fn http1_on<S>(stream: S) -> http1::SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(super) async fn http2_on<S>(stream: S) -> http2::SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) async fn text(response: Response<hyper::body::Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

pub(super) fn policy(rules: &[&str]) -> Policy {
    let rule = |(at, text): (usize, &&str)| Rule::parse(text, Source::Option(at + 1)).unwrap();
    Policy::new(rules.iter().enumerate().map(rule).collect())
}

#[derive(Default)]
struct Flows(Mutex<HashMap<SocketAddr, Flow>>);

impl OriginalDstSource for Flows {
    fn take(&self, client: ClientAddr, _accepted: socket2::SockRef<'_>) -> Option<Flow> {
        self.0.lock().unwrap().remove(&client.0)
    }
}

struct Programs;

impl ProgramSource for Programs {
    fn program(&self, pid: u32) -> Asked<'_, Program> {
        let program = Program {
            exe: Some(format!("/bin/program-{pid}")),
            cmdline: None,
            parents: Vec::new(),
        };
        Box::pin(std::future::ready(Some(program)))
    }
}

/// One name was made up: 198.18.0.1 stands for `a.test`.
struct Names;

impl NameSource for Names {
    fn name_of(&self, address: IpAddr) -> Option<Host> {
        (address.to_string() == "198.18.0.1").then(|| Host::parse("a.test").unwrap())
    }
}

/// A log that can be waited for, and that can be made to fail.
#[derive(Default)]
pub(super) struct Log {
    records: Mutex<Vec<Record>>,
    written: tokio::sync::Notify,
    pub(super) broken: AtomicBool,
}

impl Sink for Log {
    fn record(&self, record: Record) {
        self.records.lock().unwrap().push(record);
        self.written.notify_waiters();
    }

    fn healthy(&self) -> bool {
        !self.broken.load(Ordering::SeqCst)
    }
}

impl Log {
    /// Waits for the `nth` record, from 1.
    pub(super) async fn nth(&self, nth: usize) -> Record {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            if let Some(record) = self.records.lock().unwrap().get(nth - 1) {
                return record.clone();
            }
            written.await;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }
}

/// The gist of a record.
pub(super) fn gist(record: &Record) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or("-".into());
    format!(
        "{:?} {} {} {} {} [{}]",
        record.event,
        record.verdict.map_or("-".into(), |verdict| format!("{verdict:?}")),
        or_dash(&record.method),
        or_dash(&record.url),
        record.status.map_or("-".into(), |status| status.to_string()),
        or_dash(&record.reason),
    )
}
