//! Terminates TLS: plays the server that a client asked for by SNI.

use crate::audit::CERTIFICATE_REFUSED;
use crate::net::Host;
use crate::proxy::downstream::detect::DetectedProtocol;
use crate::proxy::downstream::first_bytes::{FIRST_READ_BYTES, LEFT, first_byte};
use crate::proxy::downstream::http::{connection_context, intercept_http1, serve_http2};
use crate::proxy::downstream::silence::unless_silent;
use crate::proxy::io::boxed::Io;
use crate::proxy::io::prefixed::PrefixedIo;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::service::client::Client;
use crate::proxy::service::target::Destination;
use crate::proxy::timeout::Phase;
use crate::tls::sni_host;
use rustls::AlertDescription;
use std::io;
use std::sync::Arc;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

const LEFT_TLS: &str = "the client left within the TLS handshake";

/// Plays the server that the client asked for by SNI.
pub(crate) async fn terminate<S>(client: Arc<Client>, to: Destination, stream: PrefixedIo<S>)
where
    S: Io + 'static,
{
    // Each step is boxed, so that a connection holds no room for those that are over.
    let Some(terminated) = Box::pin(shake_hands(&client, &to, stream)).await else {
        return;
    };
    let Terminated { stream, host, protocol } = terminated;
    let named = Some(host.to_string());
    let connection = connection_context(to, UpstreamProtocol::Tls, Some(host));
    if protocol == UpstreamProtocol::Http2 {
        return Box::pin(serve_http2(client, connection, stream)).await;
    }
    Box::pin(intercept_http1(client, connection, named, stream)).await;
}

/// A connection whose TLS is terminated, and on which something was sent.
struct Terminated<S> {
    stream: PrefixedIo<TlsStream<PrefixedIo<S>>>,
    /// What the client asked for.
    host: Host,
    protocol: UpstreamProtocol,
}

/// Shakes hands with a client, and waits for what it says first. Records why there is nothing to serve if that fails.
async fn shake_hands<S>(client: &Client, to: &Destination, stream: PrefixedIo<S>) -> Option<Terminated<S>>
where
    S: Io + 'static,
{
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = match unless_silent(client, Phase::Handshake, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) if is_tls(&error) => return refused(client, "malformed tls", None).await,
        Ok(Err(_)) => return unused(client, LEFT_TLS, None).await,
        Err(late) => return refused(client, &late.reason(), None).await,
    };
    let host = match sni_host(hello.client_hello().server_name()) {
        Ok(Some(host)) => host,
        Ok(None) => to.host.clone(),
        Err(_) => return refused(client, "malformed server name", None).await,
    };
    let named = Some(host.to_string());
    let Ok(config) = client.context.config.leaves.config_for(&host) else {
        return refused(client, "no certificate for the name", named).await;
    };
    let mut stream = match unless_silent(client, Phase::Handshake, hello.into_stream(config)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_tls(&error) => return refused(client, handshake_failure(&error), named).await,
        Ok(Err(_)) => return unused(client, LEFT_TLS, named).await,
        Err(late) => return refused(client, &late.reason(), named).await,
    };
    let (protocol, phase) = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => (UpstreamProtocol::Http2, Phase::Head),
        Some(_) => (UpstreamProtocol::Http1, Phase::Head),
        // Nothing says that this is HTTP: of many protocols the server would speak now.
        None => (UpstreamProtocol::Http1, Phase::FirstByte),
    };
    let mut bytes = Vec::with_capacity(FIRST_READ_BYTES);
    match first_byte(client, phase, &mut stream, &mut bytes).await {
        None => {}
        Some(DetectedProtocol::Late(late)) if phase == Phase::FirstByte => {
            client.silent(&late.reason()).await;
            return None;
        }
        Some(DetectedProtocol::Late(late)) => return unused(client, &late.reason(), named).await,
        Some(_) => return unused(client, LEFT, named).await,
    }
    let stream = PrefixedIo::new(bytes, stream);
    Some(Terminated { stream, host, protocol })
}

async fn refused<T>(client: &Client, reason: &str, named: Option<String>) -> Option<T> {
    client.refused(reason, named).await;
    None
}

async fn unused<T>(client: &Client, reason: &str, named: Option<String>) -> Option<T> {
    client.unused(reason, named).await;
    None
}

/// Returns whether what was sent is wrong; else the client is gone.
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
