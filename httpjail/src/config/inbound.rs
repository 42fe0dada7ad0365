//! Peers that may connect to ports of what is attached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::ConfigError;
use crate::net::Inbound;
use crate::policy::Warning;

/// Parses `PEER:PORT`, where PEER is an address or a network; in brackets for IPv6.
pub(super) fn parse(text: &str) -> Result<Inbound, ConfigError> {
    read(text).ok_or_else(|| ConfigError::Inbound(text.to_owned()))
}

fn read(text: &str) -> Option<Inbound> {
    let (peer, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let inside = peer.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
    let (address, bits) = match inside.unwrap_or(Some(peer))?.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (inside.unwrap_or(Some(peer))?, None),
    };
    let (network, most): (IpAddr, u8) = match inside.is_some() {
        true => (address.parse::<Ipv6Addr>().ok()?.into(), 128),
        false => (address.parse::<Ipv4Addr>().ok()?.into(), 32),
    };
    // The kernel shows a mapped one as IPv4. On loopback the cgroup's own processes meet, and nobody else.
    if network.to_canonical() != network || network.is_loopback() {
        return None;
    }
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Inbound { network, bits, port })
}

/// Warns where anybody may connect.
pub(super) fn warning(inbound: &Inbound) -> Option<Warning> {
    (inbound.bits == 0).then(|| {
        Warning::new(
            format!(
                "anybody who reaches port {} may connect, and what is sent to them is not judged",
                inbound.port
            ),
            format!("--inbound 10.0.0.0/8:{} names a network", inbound.port),
        )
    })
}
