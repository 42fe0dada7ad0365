//! What the rules refused: packet headers, as nfnetlink_log sends them (`linux/netfilter/nfnetlink_log.h`).
//!
//! Init binds the socket, which needs a capability; the process that it is passed to may read it without. The kernel
//! knows the packet but no process. The socket tables say which socket sent it, while that socket exists.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use socket2::Socket;

use super::message::{self, Attributes, attributes, messages};
use super::tables::Tables;
use crate::audit::record::{Decision, EventKind, Record};
use crate::jail::steering::{EventSource, Stopped};

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
    tables: Option<Tables>,
    waiting: VecDeque<Stopped>,
}

impl Events {
    pub(super) fn new(socket: Socket, tables: Option<Tables>) -> Self {
        Events {
            socket,
            tables,
            waiting: VecDeque::new(),
        }
    }

    /// A packet as the log says it, and the socket that sent it.
    fn stopped(&self, packet: &Packet) -> Stopped {
        let probe = packet.protocol == TCP && packet.to.ip().is_loopback();
        let mut record = Record::new(if probe { EventKind::Probe } else { EventKind::Blocked });
        record.verdict = Some(Decision::Deny);
        record.dst = Some(packet.to);
        record.reason = Some(match packet.protocol {
            UDP => "udp is not http".to_owned(),
            TCP if probe => "nobody in the jail listens there".to_owned(),
            _ => format!("{} packets are not allowed", name(packet.protocol)),
        });
        let tables = self.tables.as_ref().filter(|_| packet.protocol == UDP);
        let socket = tables.and_then(|tables| tables.sender(packet.from, packet.to));
        Stopped { record, socket }
    }
}

impl EventSource for Events {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn next(&mut self) -> Option<Stopped> {
        let mut buffer = [0; 8192];
        while self.waiting.is_empty() {
            match self.socket.read(&mut buffer) {
                Ok(length) => {
                    let packets = messages(&buffer[..length]).filter_map(packet);
                    let stopped: Vec<Stopped> = packets.map(|packet| self.stopped(&packet)).collect();
                    self.waiting.extend(stopped);
                }
                // Some were lost, for there were too many: the next call has what came since.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return None,
            }
        }
        self.waiting.pop_front()
    }
}

/// What is known of a refused packet.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    protocol: u8,
    from: SocketAddr,
    to: SocketAddr,
}

/// The packet in a message: `struct nfgenmsg`, then attributes, of which it is one.
fn packet((kind, _, body): (u16, usize, &[u8])) -> Option<Packet> {
    const NFULNL_MSG_PACKET: u16 = 4 << 8;
    const NFULA_PAYLOAD: u16 = 9;
    let mut parts = attributes(body.get(4..)?).filter(|_| kind == NFULNL_MSG_PACKET);
    let (_, packet) = parts.find(|(kind, _)| *kind == NFULA_PAYLOAD)?;
    Packet::read(packet)
}

impl Packet {
    /// Reads the head of an IP packet (RFC 791 section 3.1, RFC 8200 section 3), with the ports where there are any in their
    /// usual place.
    fn read(packet: &[u8]) -> Option<Packet> {
        let (protocol, from, to, rest) = match packet.first()? >> 4 {
            4 => {
                let [from, to] = [12, 16].map(|at| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?)));
                let header = usize::from(packet.first()? & 0xf) * 4;
                (
                    *packet.get(9)?,
                    IpAddr::from(from?),
                    IpAddr::from(to?),
                    packet.get(header..),
                )
            }
            6 => {
                let [from, to] = [8, 24].map(|at| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?)));
                (
                    *packet.get(6)?,
                    IpAddr::from(from?),
                    IpAddr::from(to?),
                    packet.get(40..),
                )
            }
            _ => return None,
        };
        let ports = rest.filter(|_| [TCP, UDP].contains(&protocol));
        let ports = ports.and_then(|rest| rest.first_chunk::<4>()).unwrap_or(&[0; 4]);
        let [from_port, to_port] = [[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_be_bytes);
        Some(Packet {
            protocol,
            from: SocketAddr::new(from, from_port),
            to: SocketAddr::new(to, to_port),
        })
    }
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
        let read = Packet::read(packet).map(|packet| (packet.protocol, packet.to.to_string()));
        assert_eq!(
            read.as_ref().map(|(protocol, to)| (*protocol, to.as_str())),
            expected,
            "{packet:?}"
        );
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
        let sent = Packet::read(&v4(UDP, 5, &[1, 2, 0, 9])).expect("a packet");
        assert_eq!(sent.from.to_string(), "0.0.0.0:258");
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
