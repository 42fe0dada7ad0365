//! Receives a datagram, and sends its answer from the address that was asked.
//!
//! With `netns` every address is local, and the resolver's socket is not bound to one of them. An answer would leave from the
//! route's own address, and a connected client would drop it. So the packet's destination is read with the packet and set as
//! the answer's source (`IP_PKTINFO`, ip(7); RFC 3542 section 6.1). A socket without that option works as any socket does.

use std::io;
use std::net::SocketAddr;

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::net::OriginalDst;

/// The port of sockets that have that option.
const DNS_PORT: u16 = 53;

/// The client that asked, and the server that it asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    client: SocketAddr,
    server: Option<imp::Server>,
}

impl Asked {
    pub(super) fn client(&self) -> SocketAddr {
        self.client
    }

    /// Returns the server that was asked, if the socket knows it.
    pub(super) fn server(&self) -> Option<OriginalDst> {
        self.server
            .as_ref()
            .map(|server| OriginalDst((imp::ip(server), DNS_PORT).into()))
    }
}

/// Waits for a datagram. One that is longer than the buffer is cut.
pub(super) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Asked)> {
    socket
        .async_io(Interest::READABLE, || imp::receive(socket, buffer))
        .await
}

/// Sends the answer.
pub(super) async fn answer(socket: &UdpSocket, bytes: &[u8], asked: &Asked) -> io::Result<()> {
    socket
        .async_io(Interest::WRITABLE, || imp::answer(socket, bytes, asked))
        .await
}

#[cfg(target_os = "linux")]
mod imp {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;

    use nix::cmsg_space;
    use nix::libc::{in_pktinfo, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, sendmsg,
    };
    use tokio::net::UdpSocket;

    use super::Asked;

    #[derive(Debug, Clone, Copy)]
    pub(super) enum Server {
        V4(in_pktinfo),
        V6(in6_pktinfo),
    }

    pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Asked)> {
        let mut control = cmsg_space!(in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let client = message.address.as_ref().and_then(address);
        let client = client.ok_or_else(|| io::Error::other("a datagram without a sender's address"))?;
        let server = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(mut info) => {
                // In an answer `spec_dst` is the source (ip(7)), which was the destination of the question.
                info.ipi_spec_dst = info.ipi_addr;
                info.ipi_ifindex = 0;
                Some(Server::V4(info))
            }
            ControlMessageOwned::Ipv6PacketInfo(mut info) => {
                info.ipi6_ifindex = 0;
                Some(Server::V6(info))
            }
            _ => None,
        });
        Ok((message.bytes, Asked { client, server }))
    }

    pub(super) fn ip(server: &Server) -> IpAddr {
        match server {
            Server::V4(info) => Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into(),
            Server::V6(info) => Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
        }
    }

    pub(super) fn answer(socket: &UdpSocket, bytes: &[u8], asked: &Asked) -> io::Result<()> {
        let from = match &asked.server {
            Some(Server::V4(info)) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Some(Server::V6(info)) => Some(ControlMessage::Ipv6PacketInfo(info)),
            None => None,
        };
        let to = SockaddrStorage::from(asked.client);
        let flags = MsgFlags::MSG_DONTWAIT;
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            from.as_slice(),
            flags,
            Some(&to),
        )?;
        Ok(())
    }

    fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = |from: &SockaddrIn| SocketAddr::V4((*from).into());
        let v6 = |from: &SockaddrIn6| SocketAddr::V6((*from).into());
        (from.as_sockaddr_in().map(v4)).or_else(|| from.as_sockaddr_in6().map(v6))
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;

    use tokio::net::UdpSocket;

    use super::Asked;

    /// There is no `netns` backend on this system.
    #[derive(Debug, Clone, Copy)]
    pub(super) enum Server {}

    pub(super) fn ip(server: &Server) -> std::net::IpAddr {
        match *server {}
    }

    pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Asked)> {
        let (length, client) = socket.try_recv_from(buffer)?;
        Ok((length, Asked { client, server: None }))
    }

    pub(super) fn answer(socket: &UdpSocket, bytes: &[u8], asked: &Asked) -> io::Result<()> {
        socket.try_send_to(bytes, asked.client).map(drop)
    }
}
