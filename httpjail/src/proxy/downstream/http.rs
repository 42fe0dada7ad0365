//! Serves HTTP/1 and HTTP/2 on a client's connection, and records a connection that ended without a request.

use crate::net::Host;
use crate::proxy::downstream::first_bytes::LEFT;
use crate::proxy::downstream::framing_io::FramingIo;
use crate::proxy::downstream::http1_gate::{self, Answers};
use crate::proxy::downstream::no_timer::NoTimer;
use crate::proxy::http1::exchange::{Ended, ExchangeState};
use crate::proxy::http1::unparsed::DefaultOrigin;
use crate::proxy::io::boxed::Io;
use crate::proxy::io::h2_coalesce::CoalescingIo;
use crate::proxy::io::shared::SharedIo;
use crate::proxy::limits::Limits;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::service::client::Client;
use crate::proxy::service::proxy_service::{ProxyService, is_unread};
use crate::proxy::service::target::{ConnectionContext, Destination};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) async fn intercept_http1<S>(
    client: Arc<Client>,
    connection: Arc<ConnectionContext>,
    named: Option<String>,
    stream: S,
) where
    S: Io + 'static,
{
    let default_origin = connection.default_origin();
    let exchange = Arc::new(ExchangeState::default());
    let requests = ProxyService {
        client: client.clone(),
        connection,
        exchange: Some(exchange.clone()),
    };
    let served = serve_http1(&client, default_origin, &exchange, requests, stream).await;
    report(&client, served, Some(&exchange), named).await;
}

/// How HTTP/1 is spoken to a client whose heads have no more fields than hyper takes by itself: the gate sees to that.
pub(crate) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The gate has the clock: hyper's counts no silence. Without one of its own hyper does not read on after an
        // answer before something comes, and the gate's would not run.
        .timer(NoTimer::new())
        .header_read_timeout(limits.header)
        .max_header_size(limits.head)
        .max_buf_size(limits.read_at_once())
        // Keeps the spelling of a server of HTTP/1. Names that come from HTTP/2 and from the proxy have no capitals.
        .preserve_header_case(true)
        // The proxy adds no field that the upstream did not send.
        .auto_date_header(false);
    builder
}

pub(crate) async fn serve_http1<S>(
    client: &Arc<Client>,
    default_origin: DefaultOrigin,
    exchange: &Arc<ExchangeState>,
    service: impl Answers + 'static,
    stream: S,
) -> hyper::Result<()>
where
    S: Io + 'static,
{
    let limits = &client.context.config.limits;
    let (stream, service) = http1_gate::pair(client, default_origin, exchange, stream, service);
    let stream = SharedIo::new(stream);
    let serve = |builder: &http1::Builder| {
        let connection = builder.serve_connection(TokioIo::new(stream.again()), &service);
        connection.with_upgrades()
    };
    let mut builder = builder(limits);
    loop {
        let served = serve(&builder).await;
        // That is once at most.
        if served.is_err() || !stream.with(FramingIo::goes_on) {
            return served;
        }
        builder.max_headers(limits.fields);
    }
}

pub(crate) async fn serve_http2<S>(client: Arc<Client>, connection: Arc<ConnectionContext>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let named = connection.tls_host.as_ref().map(Host::to_string);
    let requests = ProxyService {
        client: client.clone(),
        connection,
        exchange: None,
    };
    let limits = &client.context.config.limits;
    let (windows, _counted) = client.context.windows.client();
    let served = http2::Builder::new(client.context.tasks.clone())
        .timer(TokioTimer::new())
        // WebSockets (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        // Rapid reset (CVE-2023-44487): resets that were not processed yet, and those that the proxy had to send.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_send_buf_size(windows.unsent)
        .keep_alive_interval(Duration::from_secs(30))
        .auto_date_header(false)
        .serve_connection(
            TokioIo::new(CoalescingIo::from_client(stream, client.flushes.clone())),
            service_fn(move |request| {
                let answer = requests.answer(request);
                async move {
                    let response = answer.await;
                    match is_unread(&response) {
                        true => Err(h2::Error::from(h2::Reason::REFUSED_STREAM)),
                        false => Ok(response),
                    }
                }
            }),
        )
        .await;
    report(&client, served, None, named).await;
}

/// Records what no request tells: that hyper refused by itself (it has answered 400, 414 or 431 where it could), that a
/// request never became whole, or that there was none.
pub(crate) async fn report(
    client: &Client,
    served: hyper::Result<()>,
    exchange: Option<&ExchangeState>,
    named: Option<String>,
) {
    let ended = exchange.map_or(Ended::Between, ExchangeState::ended);
    match (served, ended) {
        (Err(error), _) if error.is_parse() => client.refused("malformed request", named).await,
        _ if client.has_sent_request() => {}
        (_, Ended::Late(late)) => client.refused(&late.reason(), named).await,
        (_, Ended::Within) => client.refused("the request broke off", named).await,
        (Err(error), _) if !error.is_incomplete_message() && !error.is_timeout() && !broke(&error) => {
            client.refused("malformed request", named).await;
        }
        _ => client.unused(LEFT, named).await,
    }
}

/// Returns whether the connection failed, and not what was sent on it.
fn broke(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>())
}

pub(crate) fn connection_context(
    to: Destination,
    protocol: UpstreamProtocol,
    tls_host: Option<Host>,
) -> Arc<ConnectionContext> {
    Arc::new(ConnectionContext::new(to, protocol, tls_host))
}
