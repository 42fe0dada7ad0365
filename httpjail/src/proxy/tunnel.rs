//! TLS that is not decrypted (`--no-tls-intercept`): judged by its host name, then relayed.
//!
//! Only the ClientHello is read. It is judged as `CONNECT https://host[:port]/`; what is inside the TLS stays between its two
//! ends, also which host the request in it names. The address is checked as for any other request.

use super::client::{Client, Entry};
use super::identity::Destination;
use super::judge::judge;
use super::prefixed::Prefixed;
use super::refusal::{Kind, Refusal};
use crate::audit::Decision;
use crate::net::{Host, Scheme};
use crate::policy::Target;
use crate::tls::sni_host;
use http::Method;
use rustls::server::Acceptor;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A ClientHello is longer than this only to see what happens.
const HELLO_MAX: usize = 64 * 1024;

/// Fatal alerts (RFC 8446 section 6).
const ACCESS_DENIED: u8 = 49;
const INTERNAL_ERROR: u8 = 80;

/// Judges the connection that begins with a ClientHello, and relays it if it may pass.
pub(super) async fn judge_hello<S>(client: Arc<Client>, to: &Destination, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = client.proxy.config.limits.handshake;
    let mut bytes = Vec::new();
    let host = match timeout(limit, read_server_name(&mut stream, &mut bytes)).await {
        Ok(Ok(host)) => Ok(host.unwrap_or_else(|| to.host.clone())),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err("no request in time"),
    };
    let host = match host {
        Ok(host) => host,
        Err(reason) => {
            client.refused(reason, None).await;
            return alert(stream, ACCESS_DENIED).await;
        }
    };
    let mut entry = Entry::new(client.clone(), &Method::CONNECT);
    client.learn_program().await;
    match open(&client, to, &host, &mut entry).await {
        Ok(upstream) => relay(stream, upstream, &bytes, entry).await,
        Err(refusal) => {
            let fault = matches!(refusal.kind, Kind::Upstream | Kind::TimedOut);
            if !fault {
                entry.record.verdict = Some(Decision::Deny);
            }
            entry.record.reason = Some(refusal.reason.to_owned());
            entry.complete = true;
            drop(entry);
            alert(stream, if fault { INTERNAL_ERROR } else { ACCESS_DENIED }).await;
        }
    }
}

async fn open(client: &Client, to: &Destination, host: &Host, entry: &mut Entry) -> Result<TcpStream, Refusal> {
    let authority = format!("{host}:{}", to.port);
    let target = Target::new(&Method::CONNECT, Scheme::Https, &authority, "/")?;
    entry.record.url = Some(target.url().to_owned());
    to.admits(host)?;
    let vouch = judge(&client.proxy, &target, entry).await?;
    Ok(client
        .proxy
        .pool
        .dialler()
        .tcp(target.host(), target.port(), vouch, to.address)
        .await?)
}

async fn relay<S>(mut stream: S, mut upstream: TcpStream, hello: &[u8], mut entry: Entry)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if upstream.write_all(hello).await.is_err() {
        return;
    }
    if let Ok((up, down)) = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await {
        entry.sent.store(up + hello.len() as u64, Ordering::Relaxed);
        entry.received = down;
        entry.complete = true;
    }
}

/// Reads on until the ClientHello is whole; `bytes` then holds all that was read.
async fn read_server_name<S>(stream: &mut S, bytes: &mut Vec<u8>) -> Result<Option<Host>, &'static str>
where
    S: AsyncRead + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        while fed < bytes.len() {
            fed += acceptor.read_tls(&mut &bytes[fed..]).map_err(|_| "malformed tls")?;
            match acceptor.accept() {
                Ok(Some(hello)) => {
                    return sni_host(hello.client_hello().server_name()).map_err(|_| "malformed server name");
                }
                Ok(None) => {}
                Err(_) => return Err("malformed tls"),
            }
        }
        if bytes.len() > HELLO_MAX || !matches!(stream.read_buf(bytes).await, Ok(1..)) {
            return Err("malformed tls");
        }
    }
}

async fn alert<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, description: u8) {
    // alert(21), TLS 1.2's number, two bytes: fatal(2), description.
    let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, description]).await;
    let _ = Prefixed::new(Vec::new(), stream).shutdown().await;
}
