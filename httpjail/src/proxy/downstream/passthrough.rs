//! Relays TLS that is not decrypted (`--no-tls-intercept`, `tls: passthrough:`), after its host name was judged.
//!
//! Only the ClientHello is read. It is judged as `CONNECT https://host[:port]/`. The proxy does not see which host a
//! request inside the TLS names. The address is checked as for any other request.

use crate::net::{Host, Scheme};
use crate::policy::Target;
use crate::proxy::downstream::silence::unless_silent;
use crate::proxy::io::boxed::{BoxedIo, Io};
use crate::proxy::io::prefixed::PrefixedIo;
use crate::proxy::io::tunnel;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::service::authorize::authorize;
use crate::proxy::service::client::Client;
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::service::target::Destination;
use crate::proxy::timeout::{Late, Phase};
use crate::proxy::upstream::key::ConnectTarget;
use crate::tls::sni_host;
use http::Method;
use rustls::server::Acceptor;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A longer ClientHello is an attempt to see what happens.
const HELLO_MAX: usize = 64 * 1024;

const MALFORMED: NoHello = NoHello::Wrong("malformed tls");

/// Fatal alerts (RFC 8446 section 6).
const ACCESS_DENIED: u8 = 49;
const INTERNAL_ERROR: u8 = 80;

/// Why there is no valid ClientHello.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoHello {
    /// It is not a ClientHello, or the host that it names cannot be read.
    Wrong(&'static str),
    /// The client closed the connection.
    Gone,
    /// It took too long.
    Late(Late),
}

/// Judges a connection by its ClientHello, and relays it if it is allowed.
pub(crate) async fn judge_hello<S>(client: Arc<Client>, to: &Destination, mut stream: PrefixedIo<S>)
where
    S: Io,
{
    match read_hello(&client, &mut stream).await {
        Ok(host) => return carry(client, to, &host.unwrap_or_else(|| to.host.clone()), None, stream).await,
        Err(NoHello::Gone) => return client.unused("the client left within the TLS handshake", None).await,
        Err(NoHello::Wrong(reason)) => client.refused(reason, None).await,
        Err(NoHello::Late(late)) => client.refused(&late.reason(), None).await,
    }
    alert(stream, ACCESS_DENIED).await;
}

/// Returns the host of a connection whose TLS is passed through: its ClientHello names a host that the user listed, and
/// nothing else that led here names another. Any other connection is decrypted or fails.
pub(crate) async fn passed_through<S>(client: &Client, to: &Destination, stream: &mut PrefixedIo<S>) -> Option<Host>
where
    S: AsyncRead + Unpin,
{
    let listed = &client.context.config.passthrough;
    if listed.is_empty() {
        return None;
    }
    // Decryption finds again what is wrong with a hello.
    let host = read_hello(client, stream).await.ok()??;
    let alone = to.host == host || to.host.ip().is_some() && !to.tunnel;
    (alone && listed.iter().any(|pattern| pattern.covers(&host))).then_some(host)
}

/// Judges a connection to `host`, which [`passed_through`] found, and relays it if it is allowed.
pub(crate) async fn pass<S>(client: Arc<Client>, to: &Destination, host: &Host, stream: PrefixedIo<S>)
where
    S: Io,
{
    carry(client, to, host, Some("tls passthrough"), stream).await;
}

async fn carry<S>(client: Arc<Client>, to: &Destination, host: &Host, note: Option<&str>, stream: PrefixedIo<S>)
where
    S: Io,
{
    let mut entry = RequestRecord::new(client.clone(), &Method::CONNECT, None);
    client.learn_program().await;
    match open(&client, to, host, &mut entry).await {
        Ok(upstream) => {
            note.into_iter().for_each(|note| entry.because(note));
            relay(&client, stream, upstream, entry).await;
        }
        Err(refusal) => {
            let fault = matches!(refusal.kind, Kind::Upstream | Kind::TimedOut);
            entry.refused(&refusal);
            entry.complete = true;
            drop(entry);
            alert(stream, if fault { INTERNAL_ERROR } else { ACCESS_DENIED }).await;
        }
    }
}

async fn open(client: &Client, to: &Destination, host: &Host, entry: &mut RequestRecord) -> Result<BoxedIo, Refusal> {
    let authority = format!("{host}:{}", to.port);
    let target = Target::new(&Method::CONNECT, Scheme::Https, &authority, "/")?;
    entry.record.url = Some(target.url().to_owned());
    to.admits(host)?;
    let trust = authorize(&client.context, &target, entry).await?;
    let connect_target = ConnectTarget {
        host: target.host(),
        port: target.port(),
        trust,
        preferred: to.chosen(),
    };
    Ok(client.context.pool.stream(Scheme::Https, connect_target).await?)
}

/// Relays all bytes. The ClientHello was put back and is the first of them.
async fn relay<S>(client: &Client, mut stream: PrefixedIo<S>, mut upstream: BoxedIo, mut entry: RequestRecord)
where
    S: Io,
{
    let relayed = tunnel::relay(
        &mut stream,
        &mut upstream,
        &entry.byte_counts,
        Some(&client.context.pipes),
    )
    .await;
    entry.complete = relayed.is_ok();
}

/// Reads the host that the ClientHello names, in whatever pieces it comes. All of its bytes can be read again
/// afterwards.
async fn read_hello<S>(client: &Client, stream: &mut PrefixedIo<S>) -> Result<Option<Host>, NoHello>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    let host = unless_silent(client, Phase::Handshake, read_server_name(stream, &mut bytes)).await;
    stream.put_back(bytes);
    host.unwrap_or_else(|late| Err(NoHello::Late(late)))
}

/// Reads on until the ClientHello is whole; `bytes` then holds all that was read.
pub(crate) async fn read_server_name<S>(stream: &mut S, bytes: &mut Vec<u8>) -> Result<Option<Host>, NoHello>
where
    S: AsyncRead + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        while fed < bytes.len() {
            fed += acceptor.read_tls(&mut &bytes[fed..]).map_err(|_| MALFORMED)?;
            match acceptor.accept() {
                Ok(Some(hello)) => {
                    return sni_host(hello.client_hello().server_name())
                        .map_err(|_| NoHello::Wrong("malformed server name"));
                }
                Ok(None) => {}
                Err(_) => return Err(MALFORMED),
            }
        }
        if bytes.len() > HELLO_MAX {
            return Err(MALFORMED);
        }
        if !matches!(stream.read_buf(bytes).await, Ok(1..)) {
            return Err(NoHello::Gone);
        }
    }
}

async fn alert<S: AsyncRead + AsyncWrite + Unpin>(mut stream: PrefixedIo<S>, description: u8) {
    // alert(21), TLS 1.2's number, two bytes: fatal(2), description.
    let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, description]).await;
    let _ = stream.shutdown().await;
}
