//! Serves one client connection: looks up its destination, detects its protocol, and serves or refuses it.
//!
//! Every connection that ends without a served request leaves a record. A failed TLS handshake ends the connection: if
//! a failure led to a passthrough, clients would fail on purpose (docs/threat-model.md T06).

use crate::audit::record::NOT_HTTP;
use crate::audit::{Decision, EventKind, Record};
use crate::net::ClientAddr;
use crate::proxy::auth::proxy_auth::AddrPair;
use crate::proxy::config::Clients;
use crate::proxy::context::Context;
use crate::proxy::downstream::detect::DetectedProtocol;
use crate::proxy::downstream::first_bytes::{LEFT, open};
use crate::proxy::downstream::forward_proxy::{ForwardProxyService, Tunnel};
use crate::proxy::downstream::http::{connection_context, intercept_http1, report, serve_http1, serve_http2};
use crate::proxy::downstream::passthrough;
use crate::proxy::downstream::tls::terminate;
use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::unparsed::DefaultOrigin;
use crate::proxy::io::boxed::Io;
use crate::proxy::io::idle_timeout::IdleTimeoutIo;
use crate::proxy::io::linger::LingerIo;
use crate::proxy::io::prefixed::PrefixedIo;
use crate::proxy::io::upgraded::taken_back;
use crate::proxy::overload::clients::Registration;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::service::client::Client;
use crate::proxy::service::target::{ConnectionContext, Destination};
use crate::proxy::timeout::Phase;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Serves what was accepted from `peer` until it ends.
pub(crate) async fn serve(context: Arc<Context>, stream: TcpStream, peer: SocketAddr, registration: Registration) {
    let flow = match &context.config.clients {
        Clients::Explicit(_) => None,
        Clients::Steered(flows) => match flows.take(ClientAddr(peer), SockRef::from(&stream)) {
            Some(flow) => Some(flow),
            None => {
                record_unknown(&context, "unknown connection");
                return reset(stream);
            }
        },
    };
    let registration = Arc::new(registration);
    let client = Client::new(context, flow, registration.clone());
    tokio::select! {
        () = registration.must_end() => {
            // Requests in flight record it themselves.
            match (client.has_sent_request(), client.has_sent_bytes(), registration.why()) {
                (false, true, Some(why)) => client.refused(why, None).await,
                (false, false, Some(why)) => client.unused(why, None).await,
                _ => {}
            }
        }
        () = serve_client(client.clone(), stream, peer) => {}
    }
}

/// Records a connection that could not be handed to the thread that was to serve it.
pub(crate) fn lost(context: &Context, error: &io::Error) {
    tracing::warn!("serving a connection failed: {error}");
    record_unknown(context, "connection lost");
}

/// Records the refusal of a connection of which nothing else is known.
fn record_unknown(context: &Context, reason: &str) {
    let mut record = Record::new(EventKind::Refused);
    record.verdict = Some(Decision::Deny);
    record.reason = Some(reason.to_owned());
    context.counters.record(&record);
    context.config.audit.record(record);
}

async fn serve_client(client: Arc<Client>, stream: TcpStream, peer: SocketAddr) {
    // Without it small answers wait for the client's delayed ACK. It fails only for a socket that is gone.
    let (true, Ok(proxy)) = (stream.set_nodelay(true).is_ok(), stream.local_addr()) else {
        return client.unused(LEFT, None).await;
    };
    let addrs = AddrPair { client: peer, proxy };
    let to = client
        .original()
        .map(|original| Destination::steered(&*client.context.config.names, original));
    let patience = client.context.config.limits.stall.saturating_mul(3);
    let stream = IdleTimeoutIo::new(
        stream,
        patience,
        client.registration.clone(),
        client.context.memory.gate(),
    );
    let stream = LingerIo::new(stream);
    let (detected, stream) = open(&client, stream).await;
    let DetectedProtocol::Http1 = detected else {
        let refused = match to {
            // Boxed, like the tunnel below: a connection in cleartext holds no room for it.
            Some(to) => Box::pin(serve_to(client, to, detected, stream)).await,
            // Clients that know of the proxy speak HTTP/1 only.
            None => refuse(&client, detected, stream).await,
        };
        return refused.map_or((), |stream| reset(stream.into_inner().into_inner().into_inner()));
    };
    let connection = to.map(|to| connection_context(to, UpstreamProtocol::Http1, None));
    let default_origin = connection
        .as_deref()
        .map_or_else(DefaultOrigin::unknown, ConnectionContext::default_origin);
    let exchange = Arc::new(ExchangeState::default());
    let (requests, tunnel) = ForwardProxyService::new(client.clone(), connection, addrs, exchange.clone());
    let served = serve_http1(&client, default_origin, &exchange, requests, stream).await;
    match tunnel.take() {
        Some(tunnel) => Box::pin(enter(client, tunnel)).await,
        None => report(&client, served, Some(&exchange), None).await,
    }
}

/// Serves the inside of a tunnel that a CONNECT opened like a connection that was steered here.
async fn enter(client: Arc<Client>, tunnel: Tunnel) {
    client.leads_to(&tunnel.to.host, tunnel.to.port);
    let Ok(stream) = tunnel.stream.await else {
        return client.unused(LEFT, None).await;
    };
    let (detected, stream) = open(&client, taken_back(stream)).await;
    // The drop closes it; the socket below cannot be reset from here.
    Box::pin(serve_to(client, tunnel.to, detected, stream)).await;
}

/// Serves a connection whose destination is known. Returns the stream if the connection is refused.
async fn serve_to<S>(
    client: Arc<Client>,
    to: Destination,
    detected: DetectedProtocol,
    stream: PrefixedIo<S>,
) -> Option<PrefixedIo<S>>
where
    S: Io + 'static,
{
    match detected {
        DetectedProtocol::Tls if client.context.config.intercept_tls => {
            let mut stream = stream;
            match Box::pin(passthrough::passed_through(&client, &to, &mut stream)).await {
                Some(host) => Box::pin(passthrough::pass(client, &to, &host, stream)).await,
                None => terminate(client, to, stream).await,
            }
        }
        DetectedProtocol::Tls => Box::pin(passthrough::judge_hello(client, &to, stream)).await,
        DetectedProtocol::Http1 => {
            intercept_http1(
                client,
                connection_context(to, UpstreamProtocol::Http1, None),
                None,
                stream,
            )
            .await;
        }
        DetectedProtocol::Http2 => {
            Box::pin(serve_http2(
                client,
                connection_context(to, UpstreamProtocol::Http2, None),
                stream,
            ))
            .await
        }
        _ => return refuse(&client, detected, stream).await,
    }
    None
}

/// Records a connection that is refused. Returns the stream that is to be reset; a silent client's connection is only
/// closed.
async fn refuse<S>(client: &Client, detected: DetectedProtocol, stream: S) -> Option<S> {
    match detected {
        DetectedProtocol::Gone => client.unused(LEFT, None).await,
        DetectedProtocol::Late(late) if late.phase == Phase::FirstByte => {
            client.silent(&late.reason()).await;
            return None;
        }
        DetectedProtocol::Late(late) => client.refused(&late.reason(), None).await,
        DetectedProtocol::Other(reason) => client.refused(reason, None).await,
        _ => client.refused(NOT_HTTP, None).await,
    }
    Some(stream)
}

/// Closes with a reset, so that the client fails at once and does not wait for an answer.
fn reset(stream: TcpStream) {
    // If that fails, the drop closes it the ordinary way.
    let _ = stream.set_zero_linger();
}
