//! The jail's network namespace: brings up `lo`, and makes the sockets of proxy and resolver in it.
//!
//! A socket stays in the namespace in which it was created. So the supervisor enters the namespace, creates the
//! sockets, and leaves: no veth, no address plan, no change on the host. The sockets are not in the jail's cgroup
//! either, because the supervisor creates them.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::exit;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::net::Listeners;

/// `lo` is the first interface of every namespace (`net/core/dev.c`, `LOOPBACK_IFINDEX`).
pub(crate) const LOOPBACK_INDEX: u32 = 1;

/// The address of `lo` besides 127.0.0.1. Without it `getaddrinfo` with `AI_ADDRCONFIG` returns nothing.
pub(crate) const JAIL_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The same for `::1`.
pub(crate) const JAIL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);

/// The mark of the sockets that reach what the jail listens on (`JailConfig::publish_mark`). It is not secret: no
/// jailed process can set a mark.
pub(crate) const PUBLISH_MARK: u32 = 0x6874_6a6c;

/// Ports that only root may bind, from which `bindresvport(3)` chooses too.
const RESERVED: std::ops::Range<u16> = 600..1024;

/// How often to try any port.
const ANY_TRIES: usize = 64;

/// How many connections may wait to be accepted. With 512, SYNs were lost at 20,000 connections a second.
const BACKLOG: i32 = 4096;

/// Runs `inside` in the network namespace of the process `pid`, and returns to the own namespace.
///
/// If it cannot return, the supervisor, and so the proxy's way out, would be in the jail: then the process ends.
///
/// # Errors
/// Those of opening the namespaces, of `setns(2)`, and of `inside`.
pub(crate) fn within<T>(pid: Pid, inside: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    within_namespace(&File::open(format!("/proc/{pid}/ns/net"))?, inside)
}

/// Like [`within`], for a namespace that is open already: that needs no right to inspect its processes.
///
/// # Errors
/// Those of `setns(2)`, and of `inside`.
pub(crate) fn within_namespace<T>(namespace: &impl AsFd, inside: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let outside = File::open("/proc/self/ns/net")?;
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let result = inside();
    if let Err(error) = setns(&outside, CloneFlags::CLONE_NEWNET) {
        // No caller could handle this in another way.
        eprintln!("error: cannot leave the jail's network namespace: {error}");
        exit(125);
    }
    result
}

/// Brings `lo` up and gives it the jail's addresses. Returns true if the namespace has IPv6.
///
/// # Errors
/// Those of rtnetlink. A host without IPv6 is not an error.
pub(crate) fn raise_loopback() -> io::Result<bool> {
    let route = Route::open()?;
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK_INDEX;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    route.ask(RouteNetlinkMessage::SetLink(link), 0)?;
    route.ask(new_address(JAIL_V4.into()), NLM_F_CREATE | NLM_F_EXCL)?;
    // A host booted with ipv6.disable=1 has no such family; one with disable_ipv6=1 has no ::1.
    let ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if ipv6 {
        route.ask(new_address(JAIL_V6.into()), NLM_F_CREATE | NLM_F_EXCL)?;
    }
    Ok(ipv6)
}

/// Makes every address local, by a default route of type `local` on `lo` from the jail's own address. A packet to any
/// address comes in again.
///
/// # Errors
/// Those of rtnetlink.
pub(crate) fn make_all_local(ipv6: bool, table: Table) -> io::Result<()> {
    let route = Route::open()?;
    for from in own_addresses(ipv6) {
        let made = RouteNetlinkMessage::NewRoute(local_default(from, table));
        route.ask(made, NLM_F_CREATE | NLM_F_EXCL)?;
    }
    Ok(())
}

/// Takes away what [`raise_loopback`] and [`make_all_local`] added, as far as it is there.
///
/// # Errors
/// Those of rtnetlink.
pub(crate) fn make_none_local(table: Table) -> io::Result<()> {
    let route = Route::open()?;
    for from in own_addresses(true) {
        let RouteNetlinkMessage::NewAddress(address) = new_address(from) else {
            continue;
        };
        for request in [
            RouteNetlinkMessage::DelRoute(local_default(from, table)),
            RouteNetlinkMessage::DelAddress(address),
        ] {
            match route.ask(request, 0).map_err(|error| (error.raw_os_error(), error)) {
                Ok(()) => {}
                // None is there, or the family is not.
                Err((Some(libc::ESRCH | libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EOPNOTSUPP), _)) => {}
                Err((_, error)) => return Err(error),
            }
        }
    }
    Ok(())
}

fn own_addresses(ipv6: bool) -> Vec<IpAddr> {
    let mut own = vec![IpAddr::from(JAIL_V4)];
    own.extend(ipv6.then_some(IpAddr::from(JAIL_V6)));
    own
}

/// Among which routes those to every address are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Where there are no others.
    Main,
    /// Before all others.
    Local,
}

/// Makes the sockets of the proxy and the resolver on loopback, each kind on one port for both families.
///
/// # Errors
/// Those of `socket(2)`, `bind(2)` and `listen(2)`.
pub(crate) fn listen(ipv6: bool) -> io::Result<Listeners> {
    listen_at(ipv6, [0, 0])
}

/// Like [`listen`], on the given ports of proxy and resolver; 0 is any port.
fn listen_at(ipv6: bool, ports: [u16; 2]) -> io::Result<Listeners> {
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    if ipv6 {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    let mut listeners = Listeners {
        proxy: listen_all(&addresses, ports[0])?,
        ..Listeners::default()
    };
    let udp = UdpSocket::bind((addresses[0], ports[1]))?;
    let port = udp.local_addr()?.port();
    listeners.resolver_udp.push(udp);
    for address in &addresses[1..] {
        listeners.resolver_udp.push(UdpSocket::bind((*address, port))?);
    }
    listeners.resolver_tcp = listen_all(&addresses, port)?;
    Ok(listeners)
}

/// Like [`listen`], in a namespace that other processes use too: when httpjail's sockets are closed, no other process may
/// receive what went to them. So they have a mark, for the programs (`JailConfig::own_mark`), and are on ports that only root may
/// bind (unless `net.ipv4.ip_unprivileged_port_start` is lower, as in containers). If others hold all of those, any port
/// will do: it is the mark that counts.
///
/// # Errors
/// As for [`listen`], and `AddrInUse` when no ports are free.
pub(crate) fn listen_among_others(own_mark: u32) -> io::Result<Listeners> {
    let ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    // Each process begins at another port.
    let pairs = (RESERVED.end - RESERVED.start) / 2;
    let first = (std::process::id() % u32::from(pairs)) as u16;
    let reserved = (0..pairs).map(|step| RESERVED.start + 2 * ((first + step) % pairs));
    let reserved = reserved.map(|port| [port, port + 1]);
    // The port that is free in one family may be taken in the other.
    for ports in reserved.chain(std::iter::repeat_n([0, 0], ANY_TRIES)) {
        match listen_at(ipv6, ports) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            listeners => {
                let listeners = listeners?;
                mark(&listeners, own_mark)?;
                return Ok(listeners);
            }
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn mark(listeners: &Listeners, own_mark: u32) -> io::Result<()> {
    let tcp = listeners.proxy.iter().chain(&listeners.resolver_tcp).map(SockRef::from);
    let udp = listeners.resolver_udp.iter().map(SockRef::from);
    tcp.chain(udp).try_for_each(|socket| socket.set_mark(own_mark))
}

/// Returns a number that nobody else knows, and that is not 0.
///
/// # Errors
/// Those of reading `/dev/urandom`.
pub(crate) fn secret() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).max(1))
}

/// What a packet must have to pass closed devices ([`crate::jail::steering::netns::frames`]). Only root can give it to a socket,
/// and who listens to all frames does not see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FramePass {
    /// `SO_MARK`.
    pub mark: u32,
    /// `SO_PRIORITY`.
    pub priority: u32,
}

impl FramePass {
    /// Returns one that nobody has.
    ///
    /// # Errors
    /// As for [`secret`].
    pub(crate) fn new() -> io::Result<Self> {
        Ok(FramePass {
            mark: secret()?,
            priority: secret()?,
        })
    }
}

/// Makes a listener for each address, all on one port: `port`, or the one that the first gets.
pub(crate) fn listen_all(addresses: &[IpAddr], mut port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let at = SocketAddr::new(*address, port);
        let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        if at.is_ipv6() {
            // Otherwise the IPv6 wildcard would take IPv4 too.
            socket.set_only_v6(true)?;
        }
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

fn new_address(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = LOOPBACK_INDEX;
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        // Duplicate address detection would keep the address tentative for a second. And an IPv6 address brings a route to its prefix, which on `lo` means "unreachable" (net/ipv6/route.c, fib6_config):
        // in force until a work queue has made the address's own, and what is sent to it meanwhile is lost, for a
        // second's wait.
        AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
    ];
    RouteNetlinkMessage::NewAddress(message)
}

fn local_default(from: IpAddr, table: Table) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.table = match table {
        Table::Main => RouteHeader::RT_TABLE_MAIN,
        // `RT_TABLE_LOCAL` of `linux/rtnetlink.h`.
        Table::Local => 255,
    };
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    let from = match from {
        IpAddr::V4(from) => RouteAddress::Inet(from),
        IpAddr::V6(from) => RouteAddress::Inet6(from),
    };
    message.attributes = vec![RouteAttribute::Oif(LOOPBACK_INDEX), RouteAttribute::PrefSource(from)];
    message
}

/// A netlink socket to the kernel's routing tables.
struct Route(Socket);

impl Route {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        Ok(Route(socket))
    }

    /// Sends one request and waits for its acknowledgement.
    fn ask(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) => error.code.map_or(Ok(()), |_| Err(error.to_io())),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "unexpected answer from rtnetlink",
            )),
        }
    }
}
