//! One connection of the jail: take its flow, see what it speaks, serve it or refuse it.
//!
//! Every way out of here that is not a served request leaves a record. A TLS handshake that fails ends the connection: a
//! client that could get a passthrough by failing would fail on purpose (docs/threat-model.md T06).

use crate::audit::record::NOT_HTTP;
use crate::audit::{Decision, EventKind, Record};
use crate::net::ClientAddr;
use crate::proxy::auth::proxy_auth::Ends;
use crate::proxy::config::Clients;
use crate::proxy::context::Context;
use crate::proxy::downstream::detect::Opening;
use crate::proxy::downstream::first_bytes::{LEFT, open};
use crate::proxy::downstream::forward_proxy::{Front, Tunnel};
use crate::proxy::downstream::http::{intercept_http1, origin_of, report, serve_http1, serve_http2};
use crate::proxy::downstream::passthrough;
use crate::proxy::downstream::tls::terminate;
use crate::proxy::http1::unparsed::Way;
use crate::proxy::io::idle_timeout::Patience;
use crate::proxy::io::linger::LingerIo;
use crate::proxy::io::prefixed::Prefixed;
use crate::proxy::overload::clients::Guest;
use crate::proxy::protocol::Wire;
use crate::proxy::service::client::Client;
use crate::proxy::service::target::{Destination, Origin};
use crate::proxy::timeout::Phase;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Serves what was accepted from `peer` until it ends.
pub(crate) async fn serve(context: Arc<Context>, stream: TcpStream, peer: SocketAddr, guest: Guest) {
    let flow = match &context.config.clients {
        Clients::Explicit(_) => None,
        Clients::Steered(flows) => match flows.take(ClientAddr(peer), SockRef::from(&stream)) {
            Some(flow) => Some(flow),
            None => {
                let mut record = Record::new(EventKind::Refused);
                record.verdict = Some(Decision::Deny);
                record.reason = Some("unknown connection".to_owned());
                context.config.audit.record(record);
                return reset(stream);
            }
        },
    };
    let guest = Arc::new(guest);
    let client = Client::new(context, flow, guest.clone());
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
        .map(|original| Destination::steered(&*client.context.config.names, original));
    let patience = client.context.config.limits.stall.saturating_mul(3);
    let stream = Patience::new(stream, patience, client.guest.clone(), client.context.memory.gate());
    let stream = LingerIo::new(stream);
    let (opening, stream) = open(&client, stream).await;
    let Opening::Http1 = opening else {
        let refused = match to {
            Some(to) => speak(client, to, opening, stream).await,
            // To a proxy that was asked for by name nothing but HTTP/1 is spoken.
            None => refuse(&client, opening, stream).await,
        };
        return refused.map_or((), |stream| reset(stream.into_inner().into_inner().into_inner()));
    };
    let origin = to.map(|to| origin_of(to, Wire::Http1, None));
    let way = origin.as_deref().map_or_else(Way::unknown, Origin::way);
    let (front, tunnel) = Front::new(client.clone(), origin, ends);
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok(front.handle(request).await) }
    });
    let (served, aside) = serve_http1(&client, way, service, stream).await;
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

/// Serves a connection to a destination that is known. Gives back the stream of one that is refused.
async fn speak<S>(client: Arc<Client>, to: Destination, opening: Opening, stream: Prefixed<S>) -> Option<Prefixed<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match opening {
        Opening::Tls if client.context.config.intercept_tls => {
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

/// Closes with a reset, so that the client fails at once and does not wait for an answer.
fn reset(stream: TcpStream) {
    // If it cannot be set the drop closes the ordinary way.
    let _ = stream.set_zero_linger();
}
