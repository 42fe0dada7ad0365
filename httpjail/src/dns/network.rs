//! The network in which name servers are asked: the host's, or that of a container.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::spawn_blocking;

use crate::net::{SocketKind, SocketSource};

/// Where the sockets to name servers are made.
#[derive(Clone)]
pub(crate) enum Network {
    /// In the process's own network.
    Host,
    /// In the network of this source.
    Of(Arc<dyn SocketSource>),
}

impl Network {
    /// Returns a UDP socket that is connected with `server`, from a random port: the kernel drops what others send to it.
    pub(super) async fn datagram(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let socket = match self {
            Network::Host => {
                let any: IpAddr = match server {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                UdpSocket::bind((any, 0)).await?
            }
            Network::Of(source) => {
                let made = made(source, SocketKind::Udp { ipv6: server.is_ipv6() }).await?;
                UdpSocket::from_std(made.into())?
            }
        };
        socket.connect(server).await?;
        Ok(socket)
    }

    /// Returns a connection to `server`.
    pub(super) async fn stream(&self, server: SocketAddr) -> io::Result<TcpStream> {
        match self {
            Network::Host => TcpStream::connect(server).await,
            Network::Of(source) => {
                let made = made(source, SocketKind::Tcp { ipv6: server.is_ipv6() }).await?;
                TcpSocket::from_std_stream(made.into()).connect(server).await
            }
        }
    }
}

async fn made(source: &Arc<dyn SocketSource>, kind: SocketKind) -> io::Result<socket2::Socket> {
    let source = Arc::clone(source);
    spawn_blocking(move || source.socket(kind))
        .await
        .map_err(io::Error::other)?
}
