//! What the BPF programs report: each attempt that they stopped, and a few counters.

use crate::{Address, Comm};

/// One attempt that a program stopped.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub struct Event {
    /// The jail's id.
    pub jail: u64,
    /// The id of the process's cgroup, or 0 if the program ran without a process.
    pub cgroup: u64,
    /// The source; unspecified if it is not decided yet.
    pub source: Address,
    /// The destination; unspecified for a socket that was refused when it was made.
    pub destination: Address,
    /// The name of the thread that tried. For a packet: of the thread that made or last connected its socket.
    pub comm: Comm,
    /// That thread's process id in the initial PID namespace; 0 if unknown.
    pub pid: u32,
    /// For packets: the interface. Otherwise 0.
    pub ifindex: u32,
    /// For socket options: the option's number, with its level in the upper half. Otherwise 0.
    pub option: u32,
    /// Port of `source`, 0 if unknown.
    pub source_port: u16,
    /// Port of `destination`, 0 if unknown.
    pub destination_port: u16,
    /// Protocol number (`IPPROTO_*`; MPTCP is 262), 0 if unknown.
    pub protocol: u16,
    /// Address family (`AF_*`), 0 if unknown.
    pub family: u16,
    /// A [`Reason`].
    pub reason: u16,
    /// A [`Direction`].
    pub direction: u16,
}

const _: () = assert!(size_of::<Event>() == 2 * 8 + 2 * size_of::<Address>() + size_of::<Comm>() + 3 * 4 + 6 * 2);

/// Where an attempt was stopped.
#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub enum Direction {
    /// In a system call on a socket.
    Call = 1,
    /// A packet on its way out.
    Egress = 2,
    /// A packet on its way in.
    Ingress = 3,
}

/// Why an attempt was stopped.
#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub enum Reason {
    /// A socket of a protocol other than TCP and UDP.
    Protocol = 1,
    /// `connect` of a UDP socket. Nothing was sent yet: glibc's `getaddrinfo` does it to sort its answers.
    UdpConnect = 2,
    /// A UDP datagram to something that is not DNS.
    UdpSend = 3,
    /// A direct connect to the proxy's or the resolver's own port.
    OwnPort = 4,
    /// No proxy or resolver listens in this address family.
    NoListener = 5,
    /// A socket that was not made inside the jail.
    ForeignSocket = 6,
    /// The kernel had no memory to store the destination.
    NoMemory = 7,
    /// A socket option that could steer packets or put chosen bytes on a wire.
    SocketOption = 8,
    /// A packet that is neither IPv4 nor IPv6.
    PacketFamily = 9,
    /// A packet too short for its headers.
    PacketTruncated = 10,
    /// An IPv4 header with options (IHL other than 5).
    PacketOptions = 11,
    /// A fragment.
    PacketFragment = 12,
    /// A packet that is neither TCP nor UDP; in IPv6 also one with any extension header.
    PacketProtocol = 13,
    /// A packet on an interface other than the jail's `lo`.
    PacketInterface = 14,
    /// A packet whose peer is neither httpjail nor a socket of the jail.
    PacketPeer = 15,
    /// A connect to a loopback port on which no process in the jail listens. It fails with ECONNREFUSED, not EPERM.
    NobodyListens = 16,
}

/// An index of the counters.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
pub enum Stat {
    /// Connections that were redirected to the proxy or the resolver.
    Redirected = 0,
    /// Connections and datagrams to the jail's own sockets.
    OwnSocket = 1,
    /// Flows written.
    FlowWritten = 2,
    /// Flows that could not be written because the map is full. The proxy closes these connections.
    FlowLost = 3,
    /// Attempts that were stopped.
    Denied = 4,
    /// Events that did not fit into the ring.
    EventLost = 5,
}

impl Stat {
    /// How many counters there are.
    pub const COUNT: u32 = 6;
}

#[cfg(feature = "user")]
mod user {
    use super::{Direction, Event, Reason};
    use std::net::SocketAddr;

    impl Event {
        /// Returns why it was stopped, or `None` if the object in the kernel is newer than this code.
        pub fn reason(&self) -> Option<Reason> {
            use Reason::*;
            const ALL: [Reason; 16] = [
                Protocol,
                UdpConnect,
                UdpSend,
                OwnPort,
                NoListener,
                ForeignSocket,
                NoMemory,
                SocketOption,
                PacketFamily,
                PacketTruncated,
                PacketOptions,
                PacketFragment,
                PacketProtocol,
                PacketInterface,
                PacketPeer,
                NobodyListens,
            ];
            ALL.into_iter().find(|&reason| reason as u16 == self.reason)
        }

        /// Returns where it was stopped.
        pub fn direction(&self) -> Option<Direction> {
            use Direction::*;
            [Call, Egress, Ingress]
                .into_iter()
                .find(|&direction| direction as u16 == self.direction)
        }

        /// Returns the source.
        pub fn source(&self) -> SocketAddr {
            SocketAddr::new(self.source.into(), self.source_port)
        }

        /// Returns the destination.
        pub fn destination(&self) -> SocketAddr {
            SocketAddr::new(self.destination.into(), self.destination_port)
        }
    }
}

#[cfg(all(feature = "user", target_os = "linux"))]
#[expect(
    unsafe_code,
    reason = "aya::Pod is an unsafe marker; the size asserted above shows that there is no padding"
)]
// SAFETY: plain integers and byte arrays, `repr(C)`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Event {}
