//! `--publish`: ports of this host at which what the jail listens on can be reached.
//!
//! The listeners are the host's, made before root is given up. Each connection to one is passed on, byte for byte, to the
//! same port of the jail's loopback, over a socket that comes through the [`SocketClient`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::Publish;
use crate::failure::Failure;
use crate::jail::process::socket_maker::SocketClient;
use crate::net::{SocketKind, SocketSource as _};

/// Connections at a time, over all ports; more wait in the listen queue.
const CONNECTIONS: usize = 256;

/// A connect on loopback takes no time, but the jail's program may have a full queue.
const CONNECT: Duration = Duration::from_secs(10);

/// After an error of a listener (no descriptors left, say), so that its loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens the host's side.
///
/// # Errors
/// Naming the address that cannot be had.
pub(crate) fn listen(published: &[Publish]) -> Result<Vec<std::net::TcpListener>, Failure> {
    let mut listeners = Vec::new();
    for Publish { host, port } in published {
        let addresses: &[IpAddr] = match host {
            Some(host) => &[*host],
            None => &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        for address in addresses {
            let at = SocketAddr::new(*address, *port);
            let bound = std::net::TcpListener::bind(at).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            match bound {
                Ok(listener) => listeners.push(listener),
                // A host without IPv6 has no such address.
                Err(error) if host.is_none() && at.is_ipv6() && is_missing(&error) => {}
                Err(error) => {
                    return Err(Failure {
                        hint: (error.kind() == io::ErrorKind::AddrInUse)
                            .then(|| format!("another program of this host listens on port {port}")),
                        ..Failure::new(format!("cannot publish {at}: {error}"))
                    });
                }
            }
        }
    }
    Ok(listeners)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32)
}

/// Passes connections on, for as long as it is polled.
pub(crate) async fn serve(
    listeners: Vec<std::net::TcpListener>,
    socket_client: Option<Arc<SocketClient>>,
) -> io::Result<()> {
    let Some(socket_client) = socket_client else {
        return std::future::pending().await;
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(
            TcpListener::from_std(listener)?,
            Arc::clone(&socket_client),
            Arc::clone(&room),
        ));
    }
    match tasks.join_next().await {
        Some(_) => Err(io::Error::other("a task of the published ports ended")),
        None => std::future::pending().await,
    }
}

async fn accept(listener: TcpListener, socket_client: Arc<SocketClient>, room: Arc<Semaphore>) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, client)) => {
                let socket_client = Arc::clone(&socket_client);
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = pass_on(stream, &socket_client, port).await {
                        tracing::debug!(%client, port, %error, "a connection to a published port ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the published port {port}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn pass_on(mut outside: TcpStream, socket_client: &Arc<SocketClient>, port: u16) -> io::Result<()> {
    let connected = match timeout(CONNECT, connect(socket_client, (Ipv4Addr::LOCALHOST, port).into())).await? {
        // Some servers listen on "localhost", and that may be `::1` alone.
        Err(_) => timeout(CONNECT, connect(socket_client, (Ipv6Addr::LOCALHOST, port).into())).await?,
        connected => connected,
    };
    let mut inside = match connected {
        Ok(inside) => inside,
        Err(error) => {
            // As if the port were the jail's own: a reset, not an orderly end.
            outside.set_zero_linger()?;
            return Err(error);
        }
    };
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.map(drop)
}

async fn connect(socket_client: &Arc<SocketClient>, at: SocketAddr) -> io::Result<TcpStream> {
    let socket_client = Arc::clone(socket_client);
    let made = tokio::task::spawn_blocking(move || socket_client.socket(SocketKind::Tcp { ipv6: at.is_ipv6() }));
    let socket = made.await.map_err(io::Error::other)??;
    TcpSocket::from_std_stream(socket.into()).connect(at).await
}
