//! What the rules refused: the heads of the packets, as nfnetlink_log sends them (`linux/netfilter/nfnetlink_log.h`).
//!
//! Init binds the socket, which takes a right; whoever is handed it may read. The kernel knows a packet here, no process.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use socket2::Socket;

use super::message::{self, Attributes, attributes, messages};
use crate::audit::record::{Decision, EventKind, Record};
use crate::jail::backend::EventSource;

/// The log group that the rules name: the namespace is ours alone.
pub(super) const GROUP: u16 = 1;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Makes a socket that is told of every packet which the rules log.
///
/// # Errors
/// Those of netlink: a kernel without nfnetlink_log has no such messages.
pub(super) fn bind() -> io::Result<Socket> {
    const NFULA_CFG_CMD: u16 = 1;
    const NFULA_CFG_MODE: u16 = 2;
    const NFULA_CFG_QTHRESH: u16 = 5;
    const BIND: u8 = 1;
    const COPY_PACKET: u8 = 2;
    /// The longest IPv4 header, or IPv6's, and the ports behind it.
    const HEAD_BYTES: u32 = 64;
    let socket = message::open()?;
    let mode = [&HEAD_BYTES.to_be_bytes()[..], &[COPY_PACKET, 0]].concat();
    for attributes in [
        Attributes::new().bytes(NFULA_CFG_CMD, &[BIND]),
        Attributes::new().bytes(NFULA_CFG_MODE, &mode),
        // Each at once, not when there are enough of them.
        Attributes::new().number(NFULA_CFG_QTHRESH, 1),
    ] {
        message::configure_log(&socket, GROUP, &attributes)?;
    }
    Ok(socket)
}

/// Refused packets, to be read.
#[derive(Debug)]
pub(super) struct Events {
    socket: Socket,
    waiting: Vec<Record>,
}

impl Events {
    pub(super) fn from(socket: Socket) -> Self {
        Events {
            socket,
            waiting: Vec::new(),
        }
    }
}

impl EventSource for Events {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn next(&mut self) -> Option<Record> {
        let mut buffer = [0; 8192];
        while self.waiting.is_empty() {
            match self.socket.read(&mut buffer) {
                Ok(length) => self.waiting.extend(messages(&buffer[..length]).filter_map(record)),
                // Some were lost, for there were too many: the next call has what came since.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return None,
            }
        }
        self.waiting.pop()
    }
}

/// A message as the log says it: `struct nfgenmsg`, then attributes, of which the packet is one.
fn record((kind, _, body): (u16, usize, &[u8])) -> Option<Record> {
    const NFULNL_MSG_PACKET: u16 = 4 << 8;
    const NFULA_PAYLOAD: u16 = 9;
    let mut parts = attributes(body.get(4..)?).filter(|_| kind == NFULNL_MSG_PACKET);
    let (_, packet) = parts.find(|(kind, _)| *kind == NFULA_PAYLOAD)?;
    let (protocol, destination) = destination(packet)?;
    let mut record = Record::new(EventKind::Blocked);
    record.verdict = Some(Decision::Deny);
    record.dst = Some(destination);
    record.reason = Some(match protocol {
        UDP => "udp is not http".to_owned(),
        _ => format!("{} packets are not allowed", name(protocol)),
    });
    Some(record)
}

/// The protocol and the destination of an IP packet (RFC 791 section 3.1, RFC 8200 section 3), with the port where there is
/// one in its usual place.
fn destination(packet: &[u8]) -> Option<(u8, SocketAddr)> {
    let (protocol, address, rest) = match packet.first()? >> 4 {
        4 => {
            let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let header = usize::from(packet.first()? & 0xf) * 4;
            (
                *packet.get(9)?,
                IpAddr::from(Ipv4Addr::from(address)),
                packet.get(header..),
            )
        }
        6 => {
            let address: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (*packet.get(6)?, IpAddr::from(Ipv6Addr::from(address)), packet.get(40..))
        }
        _ => return None,
    };
    let port = rest
        .and_then(|rest| rest.get(2..4))
        .filter(|_| [TCP, UDP].contains(&protocol));
    let port = port.and_then(|port| Some(u16::from_be_bytes(port.try_into().ok()?)));
    Some((protocol, SocketAddr::new(address, port.unwrap_or(0))))
}

fn name(protocol: u8) -> String {
    let name = match protocol {
        0 => "hop-by-hop options",
        1 => "icmp",
        2 => "igmp",
        43 => "routing header",
        44 => "fragment header",
        58 => "icmpv6",
        60 => "destination options",
        132 => "sctp",
        136 => "udp-lite",
        _ => return format!("protocol {protocol}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(packet: &[u8], expected: Option<(u8, &str)>) {
        let expected = expected.map(|(protocol, address)| (protocol, address.parse().expect("an address")));
        assert_eq!(destination(packet), expected, "{packet:?}");
    }

    fn v4(protocol: u8, words: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; usize::from(words) * 4];
        packet[0] = 0x40 | words;
        packet[9] = protocol;
        packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
        [&packet, rest].concat()
    }

    #[test]
    fn the_destination_is_found_in_whatever_was_sent() {
        check(&v4(UDP, 5, &[1, 2, 0, 9, 0, 0]), Some((UDP, "192.0.2.1:9")));
        check(&v4(UDP, 15, &[1, 2, 0, 9]), Some((UDP, "192.0.2.1:9")));
        check(&v4(UDP, 5, &[1, 2, 0]), Some((UDP, "192.0.2.1:0")));
        check(&v4(2, 6, &[1, 2, 0, 9]), Some((2, "192.0.2.1:0")));
        let mut v6 = vec![0; 44];
        (v6[0], v6[6], v6[24], v6[39], v6[43]) = (0x60, UDP, 0x20, 1, 53);
        check(&v6, Some((UDP, "[2000::1]:53")));
        check(&v6[..39], None);
        check(&v4(UDP, 5, &[])[..19], None);
        check(&[0x50; 64], None);
        check(&[], None);
    }
}
