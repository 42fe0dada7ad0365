//! One connection of the jail: take its flow, see what it speaks, serve it or refuse it.
//!
//! Every way out of here that is not a served request leaves a record. A TLS handshake that fails ends the connection: a
//! client that could get a passthrough by failing would fail on purpose (docs/threat-model.md T06).

use super::body::Download;
use super::client::Client;
use super::crowd::Guest;
use super::detect::{self, Opening};
use super::explicit::{Ends, Front, Tunnel};
use super::identity::{Destination, Origin};
use super::interceptor::{Interceptor, Streams};
use super::joined::Joined;
use super::patience::Patience;
use super::pool::Wire;
use super::prefixed::Prefixed;
use super::{Clients, Proxy, strict, tunnel};
use crate::audit::{CERTIFICATE_REFUSED, Decision, EventKind, Record};
use crate::net::{ClientAddr, Host};
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

/// Serves what was accepted from `peer` until it ends.
pub(super) async fn serve(proxy: Arc<Proxy>, stream: TcpStream, peer: SocketAddr, guest: Guest) {
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
            if let (false, Some(why)) = (client.has_spoken(), guest.why()) {
                client.refused(why, None).await;
            }
        }
        () = converse(client.clone(), stream, peer) => {}
    }
}

async fn converse(client: Arc<Client>, stream: TcpStream, peer: SocketAddr) {
    // Without it small answers wait for the client's delayed ACK; a socket that cannot be set up is not worth serving.
    let (true, Ok(proxy)) = (stream.set_nodelay(true).is_ok(), stream.local_addr()) else {
        return client.refused("connection broke", None).await;
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
    let (front, tunnel) = Front::new(client.clone(), origin, ends);
    let served = serve_http1(&client, front, stream).await;
    match tunnel.take() {
        Some(tunnel) => enter(client, tunnel).await,
        None => report(&client, served).await,
    }
}

/// What comes through a tunnel that a CONNECT opened is taken as if it had come by itself.
async fn enter(client: Arc<Client>, tunnel: Tunnel) {
    let Ok(stream) = tunnel.stream.await else {
        return client
            .refused("connection broke", Some(tunnel.to.host.to_string()))
            .await;
    };
    let (opening, stream) = open(&client, TokioIo::new(stream)).await;
    // Closed by the drop; what lies below cannot be reset from here.
    speak(client, tunnel.to, opening, stream).await;
}

/// Reads the first bytes, and says what they are; they come again from the stream.
async fn open<S: AsyncRead + Unpin>(client: &Client, mut stream: S) -> (Opening, Prefixed<S>) {
    let limit = client.proxy.config.limits.header;
    let (opening, bytes) = match timeout(limit, detect::read_opening(&mut stream)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(_)) => (Opening::Broken, Vec::new()),
        Err(_) => (Opening::Late, Vec::new()),
    };
    (opening, Prefixed::new(bytes, stream))
}

/// Serves a connection to a destination that is known. Gives back the stream of one that is refused.
async fn speak<S>(client: Arc<Client>, to: Destination, opening: Opening, stream: Prefixed<S>) -> Option<Prefixed<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match opening {
        Opening::Tls if client.proxy.config.intercept_tls => {
            let mut stream = stream;
            match tunnel::passed_through(&client, &to, &mut stream).await {
                Some(host) => tunnel::pass(client, &to, &host, stream).await,
                None => terminate(client, to, stream).await,
            }
        }
        Opening::Tls => tunnel::judge_hello(client, &to, stream).await,
        Opening::Http1 => {
            let interceptor = Interceptor {
                client: client.clone(),
                origin: origin_of(to, Wire::Http1, None),
            };
            let served = serve_http1(&client, interceptor, stream).await;
            report(&client, served).await;
        }
        Opening::Http2 => serve_http2(client, origin_of(to, Wire::Http2, None), stream).await,
        _ => return refuse(&client, opening, stream).await,
    }
    None
}

/// Records what was not understood.
async fn refuse<S>(client: &Client, opening: Opening, stream: S) -> Option<S> {
    let reason = match opening {
        Opening::Closed { silent: true } => "no request",
        Opening::Broken => "connection broke",
        Opening::Late => "no request in time",
        _ => "not http",
    };
    client.refused(reason, None).await;
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
    let limit = client.proxy.config.limits.handshake;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = match timeout(limit, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(_)) => return client.refused("malformed tls", None).await,
        Err(_) => return client.refused("no request in time", None).await,
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
    let stream = match timeout(limit, hello.into_stream(config)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return client.refused(handshake_failure(&error), named).await,
        Err(_) => return client.refused("no request in time", named).await,
    };
    let origin = origin_of(to, Wire::Tls, Some(host));
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => serve_http2(client, origin, stream).await,
        _ => {
            let interceptor = Interceptor {
                client: client.clone(),
                origin,
            };
            let served = serve_http1(&client, interceptor, stream).await;
            report(&client, served).await;
        }
    }
}

async fn serve_http1<S, F>(client: &Arc<Client>, service: F, stream: S) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Service<Request<Incoming>, Response = Response<Download>, Error = Infallible>,
    F::Future: Send + 'static,
{
    let limits = &client.proxy.config.limits;
    let (stream, service) = strict::pair(client, stream, service);
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the longest that a kept connection may be idle.
        .header_read_timeout(limits.header)
        .max_headers(limits.fields)
        .max_header_size(limits.head)
        .max_buf_size(limits.read_at_once())
        // What the upstream did not say, we do not add.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
}

async fn serve_http2<S>(client: Arc<Client>, origin: Arc<Origin>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
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
        .serve_connection(TokioIo::new(Joined::from_client(stream)), Streams(interceptor))
        .await;
    report(&client, served).await;
}

/// Records what no request tells: that hyper refused by itself (it has answered 400, 414 or 431 where it could), or that
/// nothing was asked at all.
async fn report(client: &Client, served: hyper::Result<()>) {
    let reason = match served {
        Err(error) if error.is_parse() => "malformed request",
        _ if client.has_spoken() => return,
        Err(error) if error.is_timeout() => "no request in time",
        Err(error) if !error.is_incomplete_message() && !broke(&error) => "malformed request",
        Ok(()) | Err(_) => "no request",
    };
    client.refused(reason, None).await;
}

/// Whether it is the connection that failed and not what was said on it.
fn broke(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>())
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
