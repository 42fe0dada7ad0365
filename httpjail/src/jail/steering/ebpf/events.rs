//! What the programs stopped: reads the EVENTS ring buffer and makes a log record of each event.

use super::BpfError;
use crate::audit::record::{Decision, EventKind, Record};
use crate::sys::bpf::read_pod;
use aya::maps::{Map, MapData, MapError, RingBuf};
use httpjail_common::{Event, MAP_EVENTS, Reason};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::{fmt, io};

/// The events of a jail. Needs nothing but the descriptor. Becomes readable when there is something (tokio's `AsyncFd`);
/// then take until there is no more. Events that found the buffer full are lost, and counted in `Stat::EventLost`.
pub(crate) struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    /// Takes the descriptor of the EVENTS map and maps it into memory.
    ///
    /// # Errors
    /// If it is not that map or memory is short.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<Self, BpfError> {
        let open = |error: MapError| BpfError::Access {
            operation: "open",
            map: MAP_EVENTS,
            source: io::Error::other(error.to_string()),
        };
        let data = MapData::from_fd(fd).map_err(open)?;
        Ok(Events {
            ring: RingBuf::try_from(Map::RingBuf(data)).map_err(open)?,
        })
    }

    /// The next event as a record, `None` when there is none now.
    pub(crate) fn next_record(&mut self) -> Option<Record> {
        self.next().map(|event| record(&event))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            // An entry of another size is from another version of the programs: skip it.
            if let Some(event) = read_pod(&self.ring.next()?) {
                return Some(event);
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("fd", &self.as_raw_fd()).finish()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// An event as the log says it.
pub(crate) fn record(event: &Event) -> Record {
    let probe = matches!(event.reason(), Some(Reason::UdpConnect | Reason::NobodyListens));
    let mut record = Record::new(if probe { EventKind::Probe } else { EventKind::Blocked });
    record.verdict = Some(Decision::Deny);
    record.reason = Some(reason(event));
    record.dst = (event.destination != httpjail_common::Address::UNSPECIFIED).then(|| event.destination());
    record.pid = (event.pid != 0).then_some(event.pid);
    record.comm = Some(event.comm.text()).filter(|comm| !comm.is_empty());
    record.cgroup = Some(if event.cgroup == 0 { event.jail } else { event.cgroup });
    record
}

fn reason(event: &Event) -> String {
    let Some(reason) = event.reason() else {
        return format!("blocked (code {})", event.reason);
    };
    let protocol = protocol(event.protocol);
    match reason {
        Reason::Protocol => format!("{protocol} sockets are not allowed"),
        Reason::UdpConnect => "udp connect: udp is not http".to_owned(),
        Reason::UdpSend => "udp is not http".to_owned(),
        Reason::NobodyListens => "nobody in the jail listens there".to_owned(),
        Reason::OwnPort => "httpjail's own port".to_owned(),
        Reason::NoListener => "no proxy in this address family".to_owned(),
        Reason::ForeignSocket => "socket from outside the jail".to_owned(),
        Reason::NoMemory => "out of kernel memory".to_owned(),
        Reason::SocketOption => format!("socket option {} is not allowed", option(event.option)),
        Reason::PacketFamily => "packet is not ip".to_owned(),
        Reason::PacketTruncated => "packet is too short".to_owned(),
        Reason::PacketOptions => "packet has ip options".to_owned(),
        Reason::PacketFragment => "packet is a fragment".to_owned(),
        Reason::PacketProtocol => format!("{protocol} packets are not allowed"),
        Reason::PacketInterface => format!("packet on interface {}", event.ifindex),
        Reason::PacketPeer => format!("{protocol} packet to or from outside the jail"),
    }
}

fn protocol(number: u16) -> String {
    let name = match number {
        0 => "hop-by-hop options",
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        43 => "routing header",
        44 => "fragment header",
        58 => "icmpv6",
        60 => "destination options",
        132 => "sctp",
        136 => "udp-lite",
        255 => "raw",
        256 => "smc",
        262 => "mptcp",
        _ => return format!("protocol {number}"),
    };
    name.to_owned()
}

fn option(option: u32) -> String {
    let (level, number) = (option >> 16, option & 0xffff);
    let name = match (level, number) {
        (1, 25) => "SO_BINDTODEVICE",
        (1, 62) => "SO_BINDTOIFINDEX",
        (0, 4) => "IP_OPTIONS",
        (0, 35) => "IP_ADD_MEMBERSHIP",
        (0, 42) | (41, 42) => "MCAST_JOIN_GROUP",
        (41, 20) => "IPV6_ADD_MEMBERSHIP",
        (41, 57) => "IPV6_RTHDR",
        _ => return format!("{level}:{number}"),
    };
    name.to_owned()
}
