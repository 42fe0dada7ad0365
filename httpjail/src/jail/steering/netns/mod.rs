//! Steering by nftables rules (`netns`): in the jail's network namespace every address is local, and the rules of that
//! namespace pass each connection to the proxy.
//!
//! It needs no privilege on the host: a user who may create a user namespace owns a network namespace in it, and may
//! write its rules. So init sets everything up from inside ([`set_up`]) and passes the sockets out: a supervisor
//! without root could not enter the namespace.

pub(crate) mod closing;
mod events;
mod expression;
mod flows;
pub(crate) mod frames;
mod message;
mod ruleset;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use ruleset::Way;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use super::cgroup::Cgroup;
use super::{EventSource, Steering, SteeringError};
use crate::jail::protocol::init::Inside;
use crate::jail::sandbox::network::{self, Table};
use crate::net::{AskedServerSource, ClientAddr, Listeners, OriginalDst, OriginalDstSource};
use events::Events;
use flows::Accepted;
use ruleset::Extras;
use tables::Tables;

const DNS_PORT: u16 = 53;

/// Steers by the rules of the jail's own network namespace.
#[derive(Debug)]
pub(crate) struct NetnsSteering {
    /// A cgroup of the jail's own, where one can be had. Nothing is steered by it: it is so that no other can be written.
    pub cgroup: Option<Cgroup>,
    /// A loopback port on which nobody in the jail listens goes to the proxy; else the connect is refused at once.
    pub host_loopback: bool,
}

/// Every datagram to the resolver tells by itself which server was asked.
struct Told;

impl AskedServerSource for Told {
    fn asked(&self, _client: ClientAddr) -> Option<OriginalDst> {
        None
    }
}

impl Steering for NetnsSteering {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().map(AsFd::as_fd)
    }

    fn needs_cgroup(&self) -> bool {
        false
    }

    fn inside(&self) -> Option<Inside> {
        Some(Inside {
            host_loopback: self.host_loopback,
        })
    }

    fn want(&mut self, _extras: super::Extras) -> Result<(), SteeringError> {
        // The rules let published connections in, and every datagram tells which server was asked.
        Ok(())
    }

    fn arm(&mut self, _listeners: &Listeners) -> Result<(), SteeringError> {
        // Done by init before there was a listener to hand out.
        Ok(())
    }

    fn original_dst(&self, listeners: &Listeners) -> Result<Arc<dyn OriginalDstSource>, SteeringError> {
        let listener = listeners.proxy.first();
        let listener = listener.ok_or_else(|| SteeringError::new("the proxy has no listener"))?;
        let tables = listeners.tables.first().map(socket2::Socket::try_clone);
        let accepted = Accepted::by(listener)
            .and_then(|accepted| Ok(accepted.asking(tables.transpose()?.map(Tables::new))))
            .map_err(|error| SteeringError::new(format!("cannot tell how connections are steered: {error}")))?;
        Ok(Arc::new(accepted))
    }

    fn asked_servers(&self) -> Result<Arc<dyn AskedServerSource>, SteeringError> {
        Ok(Arc::new(Told))
    }

    fn events(&self, listeners: &mut Listeners) -> Result<Option<Box<dyn EventSource>>, SteeringError> {
        let tables = listeners.tables.pop().map(Tables::new);
        let events = listeners.refusals.take().map(|refusals| Events::new(refusals, tables));
        Ok(events.map(|events| Box::new(events) as Box<dyn EventSource>))
    }

    fn proxy_keeps(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn disarm(&mut self) -> io::Result<()> {
        // All else ends with the namespace, and that with the jail's last process.
        match self.cgroup.take() {
            Some(cgroup) => cgroup.remove().map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

/// Sets up the network of the calling process's own namespace: `lo`, routes that make every address local, the sockets of
/// proxy and resolver, and the rules. Says how connections come to the proxy, and whether what is refused is told.
///
/// # Errors
/// Naming the step.
pub(crate) fn set_up(inside: Inside) -> io::Result<(Listeners, Way, bool)> {
    set_up_with(inside, Table::Main)
}

/// The same in a network that leads out, where routes come before its own.
///
/// # Errors
/// Naming the step.
pub(crate) fn set_up_among_others(inside: Inside) -> io::Result<(Listeners, Way, bool)> {
    set_up_with(inside, Table::Local)
}

fn set_up_with(inside: Inside, table: Table) -> io::Result<(Listeners, Way, bool)> {
    let ipv6 = network::raise_loopback().map_err(|error| step("raise the loopback interface", error))?;
    network::make_all_local(ipv6, table).map_err(|error| step("make every address local", error))?;
    let mut listeners = listen(ipv6).map_err(|error| step("make the sockets of proxy and resolver", error))?;
    // A kernel without it refuses in silence.
    listeners.refusals = events::bind().ok();
    // One for connections and one for refused packets. A kernel without them cannot tell whose they are.
    listeners.tables = tables::open().into_iter().chain(tables::open()).collect();
    let (way, tells) = install(&listeners, ipv6, inside).map_err(|error| step("write the nftables rules", error))?;
    Ok((listeners, way, tells))
}

/// The proxy on loopback, where the rules send what it shall get; the resolver at port 53 of every address, so that it
/// sees which server was asked and answers as that one.
fn listen(ipv6: bool) -> io::Result<Listeners> {
    let (mut loopback, mut all) = (
        vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
        vec![IpAddr::from(Ipv4Addr::UNSPECIFIED)],
    );
    if ipv6 {
        loopback.push(Ipv6Addr::LOCALHOST.into());
        all.push(Ipv6Addr::UNSPECIFIED.into());
    }
    Ok(Listeners {
        proxy: network::listen_all(&loopback, 0)?,
        resolver_udp: all
            .iter()
            .map(|address| resolver(*address))
            .collect::<io::Result<_>>()?,
        resolver_tcp: network::listen_all(&all, DNS_PORT)?,
        refusals: None,
        tables: Vec::new(),
    })
}

fn resolver(address: IpAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address((address, DNS_PORT).into());
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        // Else no answer may leave from an address that is local by the route alone (net/ipv6/datagram.c,
        // ip6_datagram_send_ctl).
        socket.set_freebind_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    socket.bind(&std::net::SocketAddr::from((address, DNS_PORT)).into())?;
    Ok(socket.into())
}

/// The best rules that this kernel has the parts for, and whether they tell what they refuse.
fn install(listeners: &Listeners, ipv6: bool, inside: Inside) -> io::Result<(Way, bool)> {
    let proxy = listeners.proxy.first().ok_or(io::ErrorKind::NotFound)?;
    let port = proxy.local_addr()?.port();
    let mut refused = Vec::new();
    for way in [Way::Tproxy, Way::Redirect] {
        for (reject, log) in [(true, true), (true, false), (false, true), (false, false)] {
            let log = log && listeners.refusals.is_some();
            match ruleset::install(way, Extras { reject, log }, port, ipv6, inside) {
                Ok(()) if way == Way::Redirect => return Ok((way, log)),
                Ok(()) => {
                    return listeners
                        .proxy
                        .iter()
                        .try_for_each(make_transparent)
                        .map(|()| (way, log));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                Err(error) => refused.push(error.to_string()),
            }
        }
    }
    refused.dedup();
    Err(io::Error::new(io::ErrorKind::Unsupported, refused.join("; ")))
}

/// Lets a listener answer for addresses that are not its own (`IP_TRANSPARENT`, ip(7)). What it accepts inherits it.
fn make_transparent(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    if listener.local_addr()?.is_ipv4() {
        socket.set_ip_transparent_v4(true)
    } else {
        socket.set_ip_transparent_v6(true)
    }
}

fn step(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}
