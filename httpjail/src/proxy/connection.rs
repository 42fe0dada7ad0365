//! One connection of the jail: take its flow, see what it speaks, serve it or refuse it.
//!
//! Every way out of here that is not a served request leaves a record. A TLS handshake that fails ends the connection: a
//! client that could get a passthrough by failing would fail on purpose (THREATS.md T06).

use super::client::Client;
use super::detect::{self, Opening};
use super::identity::Origin;
use super::interceptor::Interceptor;
use super::pool::Wire;
use super::prefixed::Prefixed;
use super::{HEADER_BYTES_MAX, HEADERS_MAX, Proxy, tunnel};
use crate::audit::{Decision, EventKind, Record};
use crate::net::{ClientAddr, Host};
use crate::tls::sni_host;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::AlertDescription;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

/// Streams that one HTTP/2 connection may have open; each is a request with its upstream.
const STREAMS_MAX: u32 = 256;

/// Serves what was accepted from `peer` until it ends.
pub(super) async fn serve(proxy: Arc<Proxy>, mut stream: TcpStream, peer: SocketAddr) {
    let Some(flow) = proxy.config.flows.take(ClientAddr(peer), SockRef::from(&stream)) else {
        let mut record = Record::new(EventKind::Refused);
        record.verdict = Some(Decision::Deny);
        record.reason = Some("unknown connection".to_owned());
        proxy.config.audit.record(record);
        return reset(stream);
    };
    let client = Client::new(proxy, flow);
    // Without it small answers wait for the client's delayed ACK; a socket that cannot be set up is not worth serving.
    if stream.set_nodelay(true).is_err() {
        return client.refused("connection broke", None).await;
    }
    let opening = timeout(client.proxy.config.limits.header, detect::read_opening(&mut stream)).await;
    let (reason, refused) = match opening {
        Ok(Ok((Opening::Tls, bytes))) if client.proxy.config.intercept_tls => {
            return terminate(client, Prefixed::new(bytes, stream)).await;
        }
        Ok(Ok((Opening::Tls, bytes))) => return tunnel::judge_hello(client, stream, bytes).await,
        Ok(Ok((Opening::Http1, bytes))) => {
            let origin = origin_of(&client, Wire::Http1, None);
            return serve_http1(client, origin, Prefixed::new(bytes, stream)).await;
        }
        Ok(Ok((Opening::Http2, bytes))) => {
            let origin = origin_of(&client, Wire::Http2, None);
            return serve_http2(client, origin, Prefixed::new(bytes, stream)).await;
        }
        Ok(Ok((Opening::Closed { silent: true }, _))) => ("no request", stream),
        Ok(Ok((Opening::Closed { silent: false } | Opening::Other | Opening::Incomplete, _))) => ("not http", stream),
        Ok(Err(_)) => ("connection broke", stream),
        Err(_) => ("no request in time", stream),
    };
    client.refused(reason, None).await;
    reset(refused);
}

/// The name that was made up for the address that the client connected to, else the address.
pub(super) fn host_of_destination(client: &Client) -> Host {
    let address = client.flow.original.0.ip().to_canonical();
    client
        .proxy
        .config
        .names
        .name_of(address)
        .unwrap_or(Host::from(address))
}

fn origin_of(client: &Client, wire: Wire, tls_host: Option<Host>) -> Arc<Origin> {
    Arc::new(Origin {
        wire,
        port: client.flow.original.0.port(),
        fallback: tls_host.clone().unwrap_or_else(|| host_of_destination(client)),
        tls_host,
    })
}

/// Plays the server that the client asked for by SNI.
async fn terminate(client: Arc<Client>, stream: Prefixed<TcpStream>) {
    let limit = client.proxy.config.limits.handshake;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = match timeout(limit, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(_)) => return client.refused("malformed tls", None).await,
        Err(_) => return client.refused("no request in time", None).await,
    };
    let host = match sni_host(hello.client_hello().server_name()) {
        Ok(Some(host)) => host,
        Ok(None) => host_of_destination(&client),
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
    let origin = origin_of(&client, Wire::Tls, Some(host));
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => serve_http2(client, origin, stream).await,
        _ => serve_http1(client, origin, stream).await,
    }
}

async fn serve_http1<S>(client: Arc<Client>, origin: Arc<Origin>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let interceptor = Interceptor {
        client: client.clone(),
        origin,
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the longest that a kept connection may be idle.
        .header_read_timeout(client.proxy.config.limits.header)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        // What the upstream did not say, we do not add.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), interceptor)
        .with_upgrades()
        .await;
    report(&client, served).await;
}

async fn serve_http2<S>(client: Arc<Client>, origin: Arc<Origin>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let interceptor = Interceptor {
        client: client.clone(),
        origin,
    };
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        // Rapid reset (CVE-2023-44487): resets that we have not seen yet, and those that we had to send.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        // This leg is local: larger windows would only let the jail fill our memory.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), interceptor)
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
        )) => "client refused our certificate",
        _ => "tls handshake failed",
    }
}

/// Closes with a reset, so that the client fails at once and does not wait for an answer.
fn reset(stream: TcpStream) {
    // If it cannot be set the drop closes the ordinary way.
    let _ = stream.set_zero_linger();
}
