//! The words that every other module shares: addresses by role, hosts, flows.
//!
//! `proxy` and `jail` never import each other; they meet here. The jail yields an [`OriginalDstSource`] and
//! [`Listeners`]; the proxy answers with nothing but verdicts. Each address has a newtype for the part it plays, so that
//! what the jail asked for can never be mistaken for what knocked at the proxy.

mod host;

pub use host::{Host, HostError, HostPattern, HostPatternError};

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Socket};

/// Where a jailed program wanted to connect, as the kernel saw it: never taken from bytes that the program sent.
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
    /// The scheme's name in lower case, as in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL of this scheme leaves out.
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

/// How it is told who opened a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opener {
    /// The kernel recorded it when the process connected.
    Process(Process),
    /// Whoever in the jail has this socket open; its inode number, as `/proc/PID/fd` shows it.
    Socket(u32),
}

/// One connection of the jail: where it was meant to go and who opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where the program wanted to connect.
    pub original: OriginalDst,
    /// Who connected, where the backend can tell.
    pub opener: Option<Opener>,
    /// The id (inode number) of the jail's cgroup, where there is one.
    pub cgroup: Option<u64>,
}

/// Tells where an accepted connection was meant to go. Each flow can be taken once; `None` means that the connection is
/// not one of the jail's and must be closed.
pub trait OriginalDstSource: Send + Sync + 'static {
    /// Takes the flow of the connection `accepted`, whose far end is `client`. Does not block beyond a system call or two.
    fn take(&self, client: ClientAddr, accepted: SockRef<'_>) -> Option<Flow>;
}

/// A process that started another, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its process id in the supervisor's PID namespace.
    pub pid: u32,
    /// Its executable, or the name of its thread. Chosen by the jail: escape it.
    pub name: String,
}

/// What a process runs and who started it, as the kernel shows it. All of it the jail's own words: escape it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The executable's path (`/proc/PID/exe`).
    pub exe: Option<String>,
    /// The arguments, separated by spaces (`/proc/PID/cmdline`); cut where it is long.
    pub cmdline: Option<String>,
    /// Who started it, and who that one, nearest first.
    #[serde(default)]
    pub parents: Vec<Ancestor>,
}

/// Who has a socket of the jail's open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: Process,
    /// What it runs.
    pub program: Program,
    /// The id (inode number) of its cgroup, where there is one.
    pub cgroup: Option<u64>,
}

/// Tells what a process runs. Asked once a connection; `None` where it cannot be known. Both block for one local round trip
/// at most; call them from a blocking context.
pub trait ProgramSource: Send + Sync + 'static {
    /// The program of `pid`.
    fn program(&self, pid: u32) -> Option<Program>;

    /// Who has the socket of this inode number open.
    fn holder(&self, _socket: u32) -> Option<Holder> {
        None
    }
}

/// Tells the name for which the resolver made up an address.
pub trait NameSource: Send + Sync + 'static {
    /// The name behind a made-up address, or `None` if the address was not made up by this jail's resolver.
    fn name_of(&self, address: IpAddr) -> Option<Host>;
}

/// Whether `address` is one of those that are kept for made-up ones: 198.18.0.0/15 (RFC 2544), 2001:2::/48 (RFC 5180).
pub fn is_made_up(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => matches!(v4.octets(), [198, 18..=19, ..]),
        IpAddr::V6(v6) => matches!(v6.segments(), [0x2001, 2, 0, ..]),
    }
}

/// Tells which name server a datagram was meant for, before it was bent to the jail's resolver (`--dns open`). Of
/// connections the flow tells.
pub trait AskedServerSource: Send + Sync + 'static {
    /// The server that the latest datagram from `client` was sent to. `None`: not known, so nobody may be asked.
    fn asked(&self, client: ClientAddr) -> Option<OriginalDst>;
}

/// The sockets of one jail, created inside its network namespace (a socket stays in the namespace it was made in).
#[derive(Debug, Default)]
pub struct Listeners {
    /// The proxy's TCP listeners, IPv4 and (where the host has it) IPv6.
    pub proxy: Vec<TcpListener>,
    /// The resolver's UDP sockets.
    pub resolver_udp: Vec<UdpSocket>,
    /// The resolver's TCP listeners.
    pub resolver_tcp: Vec<TcpListener>,
    /// Tells what was refused in the kernel, where that is told by a socket of the jail's namespace.
    pub refusals: Option<Socket>,
    /// Ask the namespace's socket tables whose a connection is, and whose a refused packet, where nothing else tells.
    pub tables: Vec<Socket>,
}
