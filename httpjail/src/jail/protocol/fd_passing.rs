//! Passes the jail's sockets from the process that created them to the one that serves them.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use socket2::Socket;

use crate::net::Listeners;

/// How many sockets there are of each kind: proxy, resolver over UDP, resolver over TCP, log of refused packets, socket
/// tables.
pub(crate) type Counts = [usize; 5];

/// The sockets as descriptors, kind by kind.
pub(crate) fn pack(listeners: Listeners) -> (Counts, Vec<OwnedFd>) {
    let Listeners {
        proxy,
        resolver_udp,
        resolver_tcp,
        refusals,
        tables,
    } = listeners;
    let counts = [
        proxy.len(),
        resolver_udp.len(),
        resolver_tcp.len(),
        usize::from(refusals.is_some()),
        tables.len(),
    ];
    let sockets = (proxy.into_iter().map(OwnedFd::from))
        .chain(resolver_udp.into_iter().map(OwnedFd::from))
        .chain(resolver_tcp.into_iter().map(OwnedFd::from))
        .chain(refusals.map(OwnedFd::from))
        .chain(tables.into_iter().map(OwnedFd::from));
    (counts, sockets.collect())
}

/// The reverse of [`pack`].
///
/// # Errors
/// When there are more or fewer descriptors than were counted.
pub(crate) fn unpack(counts: Counts, sockets: Vec<OwnedFd>) -> io::Result<Listeners> {
    let total = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count));
    if total != Some(sockets.len()) {
        return Err(io::Error::other("some of the jail's sockets are missing"));
    }
    let mut sockets = sockets.into_iter();
    Ok(Listeners {
        proxy: sockets.by_ref().take(counts[0]).map(TcpListener::from).collect(),
        resolver_udp: sockets.by_ref().take(counts[1]).map(UdpSocket::from).collect(),
        resolver_tcp: sockets.by_ref().take(counts[2]).map(TcpListener::from).collect(),
        refusals: sockets.by_ref().take(counts[3]).map(Socket::from).next(),
        tables: sockets.map(Socket::from).collect(),
    })
}
