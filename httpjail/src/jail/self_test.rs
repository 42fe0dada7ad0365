//! The self-test before the command starts: init tries what the jail must redirect or refuse, and the supervisor checks
//! what arrived where.
//!
//! Both sides must agree. Init alone could be told "connected" by any process; the supervisor alone could not see a
//! connection that also went elsewhere. If anything differs the command does not start.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::protocol::channel::wait_readable;
use crate::net::{ClientAddr, Flow, Listeners, OriginalDstSource};

/// Documentation addresses (RFC 5737, RFC 3849): no host has them, and no route leads there from the jail's namespace.
const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const TCP_PORT: u16 = 7;
const DNS_PORT: u16 = 53;
const UDP_PORT: u16 = 9;
const NONCE: &[u8] = b"httpjail canary";
const LIMIT: Duration = Duration::from_secs(2);

fn far(ipv6: bool) -> Vec<IpAddr> {
    let mut far = vec![IpAddr::V4(FAR_V4)];
    if ipv6 {
        far.push(FAR_V6.into());
    }
    far
}

/// Init's side of the test. Returns what is wrong; empty if the jail holds.
pub(crate) fn probe(ipv6: bool) -> Vec<String> {
    probe_with(ipv6, true)
}

/// The same where anybody may have a ping socket, and rules refuse what it sends: of IPv6 the kernel tells nobody that
/// (net/ipv6/ping.c, `ping_v6_sendmsg`).
pub(crate) fn probe_with_pings(ipv6: bool) -> Vec<String> {
    probe_with(ipv6, false)
}

fn probe_with(ipv6: bool, pings_are_told: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for address in far(ipv6) {
        let tcp = SocketAddr::new(address, TCP_PORT);
        match TcpStream::connect_timeout(&tcp, LIMIT).and_then(|stream| stream.peer_addr()) {
            Ok(peer) if peer == tcp => {}
            Ok(peer) => wrong.push(format!("a connection to {tcp} reached {peer} instead")),
            Err(error) => wrong.push(format!("a connection to {tcp} was not redirected: {error}")),
        }
        let dns = SocketAddr::new(address, DNS_PORT);
        if let Err(error) = send(dns, true).and_then(|()| send(dns, false)) {
            wrong.push(format!("a datagram to {dns} was not redirected: {error}"));
        }
        let udp = SocketAddr::new(address, UDP_PORT);
        for connected in [true, false] {
            refused(&mut wrong, &format!("a datagram to {udp}"), send(udp, connected));
        }
        let domain = Domain::for_address(udp);
        for (name, kind, protocol) in [
            ("a raw socket", Type::RAW, Protocol::UDP),
            (
                "a ping socket",
                Type::DGRAM,
                if address.is_ipv4() {
                    Protocol::ICMPV4
                } else {
                    Protocol::ICMPV6
                },
            ),
        ] {
            if kind == Type::DGRAM && address.is_ipv6() && !pings_are_told {
                continue;
            }
            // `ebpf` refuses the socket, `netns` what it sends.
            let sent = Socket::new(domain, kind, Some(protocol))
                .and_then(|socket| send_from(&socket, SocketAddr::new(address, 0)));
            refused(&mut wrong, name, sent);
        }
        let bound = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).and_then(|socket| {
            socket.bind_device(Some(b"lo"))?;
            send_from(&socket, udp)
        });
        refused(&mut wrong, "a socket bound to a device", bound);
    }
    wrong
}

/// Eight bytes that pass for an echo request where one must be sent (RFC 792, RFC 4443 section 4.1).
fn send_from(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    socket.send_to(&[kind, 0, 0, 0, 0, 0, 0, 0], &to.into()).map(drop)
}

fn send(to: SocketAddr, connected: bool) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    if connected {
        socket.connect(to)?;
        socket.send(NONCE)?;
    } else {
        socket.send_to(NONCE, to)?;
    }
    Ok(())
}

/// Only the jail's own refusal counts: "unreachable" would mean that the jail did not stop it.
fn refused(wrong: &mut Vec<String>, what: &str, result: io::Result<()>) {
    match result {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Ok(()) => wrong.push(format!("{what} was let through")),
        Err(error) => wrong.push(format!("{what} was not refused by the jail: {error}")),
    }
}

/// The supervisor's side of the test, after init's: every connection and datagram must have arrived, with its destination.
///
/// # Errors
/// Saying what did not arrive.
pub(crate) fn witness(listeners: &Listeners, flows: &dyn OriginalDstSource) -> io::Result<()> {
    let ipv6 = listeners.proxy.len() > 1;
    for ((listener, resolver), address) in listeners.proxy.iter().zip(&listeners.resolver_udp).zip(far(ipv6)) {
        let expected = SocketAddr::new(address, TCP_PORT);
        let (stream, client) = accept(listener)?;
        let flow = flows.take(ClientAddr(client), SockRef::from(&stream));
        if flow.as_ref().map(|flow| flow.original.0) != Some(expected) {
            return Err(io::Error::other(format!(
                "expected a connection to {expected}, got {flow:?}"
            )));
        }
        for _ in 0..2 {
            await_readable(resolver)?;
            let mut bytes = [0; 64];
            let (length, _) = resolver.recv_from(&mut bytes)?;
            if &bytes[..length] != NONCE {
                return Err(io::Error::other("the resolver received an unexpected datagram"));
            }
        }
    }
    Ok(())
}

/// Like [`witness`], but other processes use the listeners too: only what comes from the test's cgroup (`cgroup` is its id, if
/// it has one) counts.
///
/// # Errors
/// Saying what did not arrive.
pub(crate) fn witness_among(
    listeners: &Listeners,
    flows: &dyn OriginalDstSource,
    cgroup: Option<u64>,
) -> io::Result<()> {
    let ipv6 = listeners.proxy.len() > 1;
    for ((listener, resolver), address) in listeners.proxy.iter().zip(&listeners.resolver_udp).zip(far(ipv6)) {
        let expected = SocketAddr::new(address, TCP_PORT);
        let is_canary = |flow: Flow| flow.original.0 == expected && flow.cgroup == cgroup;
        loop {
            let (stream, client) = accept(listener)?;
            if flows
                .take(ClientAddr(client), SockRef::from(&stream))
                .is_some_and(is_canary)
            {
                break;
            }
        }
        for _ in 0..2 {
            let mut bytes = [0; 64];
            loop {
                await_readable(resolver)?;
                let (length, _) = resolver.recv_from(&mut bytes)?;
                if &bytes[..length] == NONCE {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    await_readable(listener)?;
    listener.accept()
}

fn await_readable(socket: &impl AsFd) -> io::Result<()> {
    let ready = wait_readable(socket.as_fd(), LIMIT)?;
    if ready {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::TimedOut, "nothing arrived"))
    }
}
