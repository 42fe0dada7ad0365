//! Finds the jail's socket at the near end of a connection, or the one that sent a packet: asks the socket tables of
//! the jail's network namespace for one socket at a time, by sock_diag(7).
//!
//! Init opens the netlink socket, because it asks about the namespace in which it was opened; asking needs no
//! capability. The numbers are those of `linux/inet_diag.h` and `linux/sock_diag.h`.

use crate::sync::lock;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use super::message::messages;
use crate::jail::sandbox::network::LOOPBACK_INDEX;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Of `struct nlmsghdr` with `struct inet_diag_req_v2`.
const REQUEST_BYTES: u32 = 16 + 56;

/// Opens a line to the socket tables of the calling thread's network namespace.
///
/// # Errors
/// Those of `socket(2)`.
pub(super) fn open() -> io::Result<Socket> {
    const NETLINK_SOCK_DIAG: i32 = 4;
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    // The answer waits before the call that asks returns (`net/core/sock_diag.c`), or none comes.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The socket tables of one network namespace.
#[derive(Debug)]
pub(super) struct Tables(Mutex<Socket>);

impl Tables {
    pub(super) fn new(socket: Socket) -> Self {
        Tables(Mutex::new(socket))
    }

    /// The inode number of the socket whose own end of a TCP connection is `near`. `None` once nobody has it open.
    pub(super) fn connection(&self, near: SocketAddr, far: SocketAddr) -> Option<u32> {
        self.ask(TCP, near, far)
    }

    /// That of the socket which sends datagrams from `near` to `far`.
    pub(super) fn sender(&self, near: SocketAddr, far: SocketAddr) -> Option<u32> {
        // Swapped "for historical reasons" (`net/ipv4/udp_diag.c`, `udp_dump_one`).
        self.ask(UDP, far, near)
    }

    fn ask(&self, protocol: u8, first: SocketAddr, second: SocketAddr) -> Option<u32> {
        let request = request(protocol, first, second)?;
        let mut buffer = [0; 1024];
        let socket = lock(&self.0);
        let mut line = &*socket;
        line.write_all(&request).ok()?;
        let length = line.read(&mut buffer).ok()?;
        drop(socket);
        inode(buffer.get(..length)?)
    }
}

/// `None` if the ends are of two families.
fn request(protocol: u8, first: SocketAddr, second: SocketAddr) -> Option<Vec<u8>> {
    const NLM_F_REQUEST: u16 = 1;
    let (family, addresses) = match (first.ip(), second.ip()) {
        (IpAddr::V4(first), IpAddr::V4(second)) => {
            let wide = |octets: [u8; 4]| [&octets[..], &[0; 12]].concat();
            (libc::AF_INET, [wide(first.octets()), wide(second.octets())])
        }
        (IpAddr::V6(first), IpAddr::V6(second)) => {
            (libc::AF_INET6, [first.octets().to_vec(), second.octets().to_vec()])
        }
        _ => return None,
    };
    let mut message = Vec::with_capacity(REQUEST_BYTES as usize);
    message.extend(REQUEST_BYTES.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    // No extensions; every state.
    message.extend([u8::try_from(family).ok()?, protocol, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    message.extend(first.port().to_be_bytes());
    message.extend(second.port().to_be_bytes());
    addresses.iter().for_each(|address| message.extend(address));
    // One that is bound to an interface is found by that alone, and there is no other.
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    // Whatever its cookie (INET_DIAG_NOCOOKIE).
    message.extend([0xff; 8]);
    Some(message)
}

/// The inode number in an answer; 0 is that of a socket which nobody has open any more.
fn inode(answer: &[u8]) -> Option<u32> {
    const INODE: usize = 68;
    let mut found = messages(answer).filter(|(kind, ..)| *kind == SOCK_DIAG_BY_FAMILY);
    let (_, _, body) = found.next()?;
    let inode = body.get(INODE..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*inode)).filter(|inode| *inode != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsFd, AsRawFd};

    #[track_caller]
    fn check(found: Option<u32>, socket: impl AsFd) {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd())).unwrap();
        let found = found.map(|inode| format!("socket:[{inode}]"));
        assert_eq!(found.as_deref(), link.to_str());
    }

    #[test]
    fn the_near_end_of_a_connection_and_the_sender_of_a_datagram_are_found() {
        let tables = Tables::new(open().unwrap());
        for (loopback, any) in [("127.0.0.1:0", "0.0.0.0:0"), ("[::1]:0", "[::]:0")] {
            let listener = TcpListener::bind(loopback).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, near) = listener.accept().unwrap();
            let far = accepted.local_addr().unwrap();
            check(tables.connection(near, far), &client);
            check(tables.connection(far, near), &accepted);
            drop((client, accepted));
            assert_eq!(tables.connection(near, far), None);

            let sender = UdpSocket::bind(any).unwrap();
            let near = SocketAddr::new(listener.local_addr().unwrap().ip(), sender.local_addr().unwrap().port());
            check(tables.sender(near, far), &sender);
        }
        let [v4, v6] = ["127.0.0.1:1", "[::1]:1"].map(|address| address.parse().unwrap());
        assert_eq!(tables.connection(v4, v6), None);
    }

    #[test]
    fn what_is_cut_short_is_no_answer() {
        let whole = [
            &88u32.to_ne_bytes()[..],
            &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
            &[0; 10],
            &[0; 68],
            &7u32.to_ne_bytes(),
        ]
        .concat();
        assert_eq!(inode(&whole), Some(7));
        for length in 0..whole.len() {
            assert_eq!(inode(&whole[..length]), None, "{length}");
        }
    }
}
