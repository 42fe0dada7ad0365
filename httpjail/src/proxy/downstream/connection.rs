//! One connection of the jail: take its flow, see what it speaks, serve it or refuse it.
//!
//! Every way out of here that is not a served request leaves a record. A TLS handshake that fails ends the connection: a
//! client that could get a passthrough by failing would fail on purpose (docs/threat-model.md T06).

use crate::audit::record::NOT_HTTP;
use crate::audit::{CERTIFICATE_REFUSED, Decision, EventKind, Record};
use crate::net::{ClientAddr, Host};
use crate::proxy::downstream::detect;
use crate::proxy::downstream::detect::Opening;
use crate::proxy::downstream::forward_proxy::{Ends, Front, Tunnel};
use crate::proxy::downstream::http1_gate::{Aside, Ended};
use crate::proxy::downstream::silence::{Phase, unless_silent};
use crate::proxy::downstream::{http1_gate, passthrough};
use crate::proxy::http1::unparsed::Way;
use crate::proxy::io::h2_coalesce::Joined;
use crate::proxy::io::idle_timeout::Patience;
use crate::proxy::io::prefixed::Prefixed;
use crate::proxy::limits::Limits;
use crate::proxy::overload::clients::Guest;
use crate::proxy::service::client::Client;
use crate::proxy::service::proxy_service::{Interceptor, Streams};
use crate::proxy::service::response_body::Download;
use crate::proxy::service::target::{Destination, Origin};
use crate::proxy::upstream::pool::Wire;
use crate::proxy::{Clients, Proxy};
use crate::tls::sni_host;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::AlertDescription;
use socket2::SockRef;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

/// What is read at once of what a client says first: most requests, and most ClientHellos.
const OPENING_BYTES: usize = 4096;

/// The reasons where a client left before it asked for anything.
const LEFT: &str = "the client left";
const LEFT_TLS: &str = "the client left within the TLS handshake";

/// Serves what was accepted from `peer` until it ends.
pub(crate) async fn serve(proxy: Arc<Proxy>, stream: TcpStream, peer: SocketAddr, guest: Guest) {
    let flow = match &proxy.config.clients {
        Clients::Explicit(_) => None,
        Clients::Steered(flows) => match flows.take(ClientAddr(peer), SockRef::from(&stream)) {
            Some(flow) => Some(flow),
            None => {
                let mut record = Record::new(EventKind::Refused);
                record.verdict = Some(Decision::Deny);
                record.reason = Some("unknown connection".to_owned());
                proxy.config.audit.record(record);
                return reset(stream);
            }
        },
    };
    let guest = Arc::new(guest);
    let client = Client::new(proxy, flow, guest.clone());
    tokio::select! {
        () = guest.has_to_go() => {
            // Requests under way record it themselves.
            match (client.has_spoken(), client.has_heard(), guest.why()) {
                (false, true, Some(why)) => client.refused(why, None).await,
                (false, false, Some(why)) => client.unused(why, None).await,
                _ => {}
            }
        }
        () = converse(client.clone(), stream, peer) => {}
    }
}

async fn converse(client: Arc<Client>, stream: TcpStream, peer: SocketAddr) {
    // Without it small answers wait for the client's delayed ACK; a socket that cannot be set up is not worth serving.
    let (true, Ok(proxy)) = (stream.set_nodelay(true).is_ok(), stream.local_addr()) else {
        return client.unused(LEFT, None).await;
    };
    let ends = Ends { client: peer, proxy };
    let to = client
        .original()
        .map(|original| Destination::steered(&client, original));
    let patience = client.proxy.config.limits.stall.saturating_mul(3);
    let stream = Patience::new(stream, patience, client.guest.clone(), client.proxy.memory.gate());
    let (opening, stream) = open(&client, stream).await;
    let Opening::Http1 = opening else {
        let refused = match to {
            Some(to) => speak(client, to, opening, stream).await,
            // To a proxy that was asked for by name nothing but HTTP/1 is spoken.
            None => refuse(&client, opening, stream).await,
        };
        return refused.map_or((), |stream| reset(stream.into_inner().into_inner()));
    };
    let origin = to.map(|to| origin_of(to, Wire::Http1, None));
    let way = origin.as_deref().map_or_else(Way::unknown, Way::of);
    let (front, tunnel) = Front::new(client.clone(), origin, ends);
    let (served, aside) = serve_http1(&client, way, front, stream).await;
    match tunnel.take() {
        Some(tunnel) => enter(client, tunnel).await,
        None => report(&client, served, Some(&aside), None).await,
    }
}

/// What comes through a tunnel that a CONNECT opened is taken as if it had come by itself.
async fn enter(client: Arc<Client>, tunnel: Tunnel) {
    client.leads_to(&tunnel.to.host, tunnel.to.port);
    let Ok(stream) = tunnel.stream.await else {
        return client.unused(LEFT, None).await;
    };
    let (opening, stream) = open(&client, TokioIo::new(stream)).await;
    // Closed by the drop; what lies below cannot be reset from here.
    speak(client, tunnel.to, opening, stream).await;
}

/// Reads the first bytes, and says what they are; they come again from the stream.
async fn open<S: AsyncRead + Unpin>(client: &Client, mut stream: S) -> (Opening, Prefixed<S>) {
    let mut bytes = Vec::with_capacity(OPENING_BYTES);
    let opening = match first_byte(client, Phase::Opening, &mut stream, &mut bytes).await {
        Some(gone) => gone,
        None => unless_silent(client, Phase::Head, detect::read_opening(&mut stream, &mut bytes))
            .await
            .unwrap_or_else(Opening::Late),
    };
    (opening, Prefixed::new(bytes, stream))
}

/// Waits until something comes; what does is in `bytes`. What became of the client, if nothing comes.
async fn first_byte<S>(client: &Client, phase: Phase, stream: &mut S, bytes: &mut Vec<u8>) -> Option<Opening>
where
    S: AsyncRead + Unpin,
{
    match unless_silent(client, phase, stream.read_buf(bytes)).await {
        Ok(Ok(1..)) => {
            client.hears();
            None
        }
        Ok(Ok(0) | Err(_)) => Some(Opening::Gone),
        Err(late) => Some(Opening::Late(late)),
    }
}

/// Serves a connection to a destination that is known. Gives back the stream of one that is refused.
async fn speak<S>(client: Arc<Client>, to: Destination, opening: Opening, stream: Prefixed<S>) -> Option<Prefixed<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match opening {
        Opening::Tls if client.proxy.config.intercept_tls => {
            let mut stream = stream;
            match passthrough::passed_through(&client, &to, &mut stream).await {
                Some(host) => passthrough::pass(client, &to, &host, stream).await,
                None => terminate(client, to, stream).await,
            }
        }
        Opening::Tls => passthrough::judge_hello(client, &to, stream).await,
        Opening::Http1 => {
            intercept_http1(client, origin_of(to, Wire::Http1, None), None, stream).await;
        }
        Opening::Http2 => serve_http2(client, origin_of(to, Wire::Http2, None), stream).await,
        _ => return refuse(&client, opening, stream).await,
    }
    None
}

/// Records what was not understood. Gives back the stream that is to be cut off; who said nothing is only hung up on.
async fn refuse<S>(client: &Client, opening: Opening, stream: S) -> Option<S> {
    match opening {
        Opening::Gone => client.unused(LEFT, None).await,
        Opening::Late(late) if late.phase == Phase::Opening => {
            client.silent(&late.reason()).await;
            return None;
        }
        Opening::Late(late) => client.refused(&late.reason(), None).await,
        Opening::Other(reason) => client.refused(reason, None).await,
        _ => client.refused(NOT_HTTP, None).await,
    }
    Some(stream)
}

fn origin_of(to: Destination, wire: Wire, tls_host: Option<Host>) -> Arc<Origin> {
    Arc::new(Origin { wire, to, tls_host })
}

/// Plays the server that the client asked for by SNI.
async fn terminate<S>(client: Arc<Client>, to: Destination, stream: Prefixed<S>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = match unless_silent(&client, Phase::Handshake, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) if is_tls(&error) => return client.refused("malformed tls", None).await,
        Ok(Err(_)) => return client.unused(LEFT_TLS, None).await,
        Err(late) => return client.refused(&late.reason(), None).await,
    };
    let host = match sni_host(hello.client_hello().server_name()) {
        Ok(Some(host)) => host,
        Ok(None) => to.host.clone(),
        Err(_) => return client.refused("malformed server name", None).await,
    };
    let named = Some(host.to_string());
    let Ok(config) = client.proxy.config.leaves.config_for(&host) else {
        return client.refused("no certificate for the name", named).await;
    };
    let mut stream = match unless_silent(&client, Phase::Handshake, hello.into_stream(config)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_tls(&error) => return client.refused(handshake_failure(&error), named).await,
        Ok(Err(_)) => return client.unused(LEFT_TLS, named).await,
        Err(late) => return client.refused(&late.reason(), named).await,
    };
    let (wire, phase) = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => (Wire::Http2, Phase::Head),
        Some(_) => (Wire::Http1, Phase::Head),
        // Nothing says that this is HTTP: of many protocols the server would speak now.
        None => (Wire::Http1, Phase::Opening),
    };
    let mut bytes = Vec::with_capacity(OPENING_BYTES);
    match first_byte(&client, phase, &mut stream, &mut bytes).await {
        None => {}
        Some(Opening::Late(late)) if phase == Phase::Opening => return client.silent(&late.reason()).await,
        Some(Opening::Late(late)) => return client.unused(&late.reason(), named).await,
        Some(_) => return client.unused(LEFT, named).await,
    }
    let stream = Prefixed::above_another(bytes, stream);
    let origin = origin_of(to, Wire::Tls, Some(host));
    if wire == Wire::Http2 {
        return serve_http2(client, origin, stream).await;
    }
    intercept_http1(client, origin, named, stream).await;
}

async fn intercept_http1<S>(client: Arc<Client>, origin: Arc<Origin>, named: Option<String>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let way = Way::of(&origin);
    let interceptor = Interceptor {
        client: client.clone(),
        origin,
    };
    let (served, aside) = serve_http1(&client, way, interceptor, stream).await;
    report(&client, served, Some(&aside), named).await;
}

/// How HTTP/1 is spoken to a client.
pub(crate) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The gate has the clock, which is always the first to run out: hyper's counts no silence. Without one of its own hyper
        // does not read on after an answer before something comes, and the gate's would not run.
        .header_read_timeout(limits.header.saturating_add(limits.arrival).saturating_mul(2))
        .max_headers(limits.fields)
        .max_header_size(limits.head)
        .max_buf_size(limits.read_at_once())
        // As a server of HTTP/1 spells the names. Those that come from HTTP/2 and from us have no capitals.
        .preserve_header_case(true)
        // What the upstream did not say, we do not add.
        .auto_date_header(false);
    builder
}

async fn serve_http1<S, F>(client: &Arc<Client>, way: Way, service: F, stream: S) -> (hyper::Result<()>, Arc<Aside>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Service<Request<Incoming>, Response = Response<Download>, Error = Infallible>,
    F::Future: Send + 'static,
{
    let limits = &client.proxy.config.limits;
    let (stream, service, aside) = http1_gate::pair(client, way, stream, service);
    let served = builder(limits)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    (served, aside)
}

async fn serve_http2<S>(client: Arc<Client>, origin: Arc<Origin>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let named = origin.tls_host.as_ref().map(Host::to_string);
    let interceptor = Interceptor {
        client: client.clone(),
        origin,
    };
    let limits = &client.proxy.config.limits;
    let (windows, _counted) = client.proxy.windows.client();
    let served = http2::Builder::new(client.proxy.tasks.clone())
        .timer(TokioTimer::new())
        // WebSockets (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        // Rapid reset (CVE-2023-44487): resets that we have not seen yet, and those that we had to send.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_send_buf_size(windows.unsent)
        .keep_alive_interval(Duration::from_secs(30))
        .auto_date_header(false)
        .serve_connection(
            TokioIo::new(Joined::from_client(stream, client.flushes.clone())),
            Streams(interceptor),
        )
        .await;
    report(&client, served, None, named).await;
}

/// Records what no request tells: that hyper refused by itself (it has answered 400, 414 or 431 where it could), that a request
/// never became whole, or that there was none.
async fn report(client: &Client, served: hyper::Result<()>, aside: Option<&Aside>, named: Option<String>) {
    let ended = aside.map_or(Ended::Between, Aside::ended);
    match (served, ended) {
        (Err(error), _) if error.is_parse() => client.refused("malformed request", named).await,
        _ if client.has_spoken() => {}
        (_, Ended::Late(late)) => client.refused(&late.reason(), named).await,
        (_, Ended::Within) => client.refused("the request broke off", named).await,
        (Err(error), _) if !error.is_incomplete_message() && !error.is_timeout() && !broke(&error) => {
            client.refused("malformed request", named).await;
        }
        _ => client.unused(LEFT, named).await,
    }
}

/// Whether it is the connection that failed and not what was said on it.
fn broke(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>())
}

/// Whether it is what was said that is wrong; else the client is gone.
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn handshake_failure(error: &io::Error) -> &'static str {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA, UnsupportedCertificate};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(
            BadCertificate | CertificateExpired | CertificateUnknown | UnknownCA | UnsupportedCertificate,
        )) => CERTIFICATE_REFUSED,
        _ => "tls handshake failed",
    }
}

/// Closes with a reset, so that the client fails at once and does not wait for an answer.
fn reset(stream: TcpStream) {
    // If it cannot be set the drop closes the ordinary way.
    let _ = stream.set_zero_linger();
}
