//! The types that all other modules share: addresses by role, hosts, flows.
//!
//! `proxy` and `jail` never import each other. They share these types: the jail yields an [`OriginalDstSource`] and [`Listeners`],
//! which the proxy uses. Each address has a newtype for its role, so that the address that a program asked for cannot be
//! confused with the address that connected to the proxy.

mod host;

pub use host::{Host, HostError, HostPattern, HostPatternError};

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Socket};

/// The address that a jailed program connected to, as the kernel saw it; never taken from bytes that the program sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalDst(pub SocketAddr);

/// The jailed side's end of a connection that the proxy accepted (`accept(2)`'s peer address).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub SocketAddr);

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Cleartext HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme's name in lower case, as in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Returns the port that a URL of this scheme leaves out.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The process that opened a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group id) in the supervisor's PID namespace.
    pub pid: u32,
    /// The thread's name (`comm`, at most 15 bytes), lossily decoded. Chosen by the jail: escape it.
    pub comm: String,
}

/// How the process that opened a connection is identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opener {
    /// By the process that the kernel recorded at the connect.
    Process(Process),
    /// By the socket that the process has open: its inode number, as in `/proc/PID/fd`.
    Socket(u32),
}

/// One connection of the jail: its destination, and the process that opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The address that the program connected to.
    pub original: OriginalDst,
    /// The process that connected, if the backend knows it.
    pub opener: Option<Opener>,
    /// The id (inode number) of the jail's cgroup, if there is one.
    pub cgroup: Option<u64>,
}

/// Knows the destinations of accepted connections. Each flow can be taken once. `None` means that the connection does not come from
/// the jail and must be closed.
pub trait OriginalDstSource: Send + Sync + 'static {
    /// Takes the flow of the connection `accepted`, whose peer is `client`. Blocks for a system call or two at most.
    fn take(&self, client: ClientAddr, accepted: SockRef<'_>) -> Option<Flow>;
}

/// A process that started another, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its process id in the supervisor's PID namespace.
    pub pid: u32,
    /// Its executable, or the name of its thread. Chosen by the jail: escape it.
    pub name: String,
}

/// The program of a process and its ancestors, as the kernel shows them. The jail chooses all of it: escape it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The executable's path (`/proc/PID/exe`).
    pub exe: Option<String>,
    /// The arguments, separated by spaces (`/proc/PID/cmdline`), cut if they are long.
    pub cmdline: Option<String>,
    /// The processes that started it, nearest first.
    #[serde(default)]
    pub parents: Vec<Ancestor>,
}

/// A process that has a socket of the jail open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process itself.
    pub process: Process,
    /// The program that it runs.
    pub program: Program,
    /// The id (inode number) of its cgroup, if there is one.
    pub cgroup: Option<u64>,
}

/// An answer of a [`ProgramSource`]. It takes one local round trip at most.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Option<T>> + Send + 'a>>;

/// Knows which program a process runs. It is asked once for each connection, and returns `None` if that is unknown.
pub trait ProgramSource: Send + Sync + 'static {
    /// Returns the program of the process `pid`.
    fn program(&self, pid: u32) -> Asked<'_, Program>;

    /// Returns the process that has the socket with this inode number open.
    fn holder(&self, _socket: u32) -> Asked<'_, Holder> {
        Box::pin(std::future::ready(None))
    }
}

/// Knows the names of synthetic addresses.
pub trait NameSource: Send + Sync + 'static {
    /// Returns the name of a synthetic address, or `None` if this jail's resolver did not make the address up.
    fn name_of(&self, address: IpAddr) -> Option<Host>;
}

/// Returns true if `address` is in the ranges of synthetic addresses: 198.18.0.0/15 (RFC 2544), 2001:2::/48 (RFC 5180).
pub fn is_made_up(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => matches!(v4.octets(), [198, 18..=19, ..]),
        IpAddr::V6(v6) => matches!(v6.segments(), [0x2001, 2, 0, ..]),
    }
}

/// Knows which name server a datagram was sent to before it was redirected to the jail's resolver (`--dns open`). For connections,
/// the flow says so.
pub trait AskedServerSource: Send + Sync + 'static {
    /// Returns the server that the latest datagram from `client` was sent to. If it is `None`, no server may be asked.
    fn asked(&self, client: ClientAddr) -> Option<OriginalDst>;
}

/// Peers that may connect to a port of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inbound {
    /// An address of their network; IPv4 is not written as IPv6.
    pub network: IpAddr,
    /// How many of its bits are the network's.
    pub bits: u8,
    /// The port; not 0.
    pub port: u16,
}

/// A socket of another network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketKind {
    /// TCP.
    Tcp {
        /// Over IPv6.
        ipv6: bool,
    },
    /// UDP.
    Udp {
        /// Over IPv6.
        ipv6: bool,
    },
    /// Asks the kernel where that network's routes lead (rtnetlink).
    Routes,
}

/// Makes sockets of a network that the proxy's process is not in. A call blocks for one local round trip at most: make it from a
/// blocking context.
pub trait SocketSource: Send + Sync + 'static {
    /// Returns a new socket, neither bound nor connected, whose calls do not block.
    ///
    /// # Errors
    /// When the process that makes them is gone or cannot make one.
    fn socket(&self, kind: SocketKind) -> io::Result<Socket>;
}

/// The sockets of one jail, created in its network namespace. (A socket stays in the namespace in which it was created.)
#[derive(Debug, Default)]
pub struct Listeners {
    /// The proxy's TCP listeners, for IPv4 and, if the host has it, IPv6.
    pub proxy: Vec<TcpListener>,
    /// The resolver's UDP sockets.
    pub resolver_udp: Vec<UdpSocket>,
    /// The resolver's TCP listeners.
    pub resolver_tcp: Vec<TcpListener>,
    /// Receives reports of what the kernel refused, if a socket of the jail's namespace does so.
    pub refusals: Option<Socket>,
    /// Query the namespace's socket tables for the owner of a connection or of a refused packet, if nothing else knows it.
    pub tables: Vec<Socket>,
}
