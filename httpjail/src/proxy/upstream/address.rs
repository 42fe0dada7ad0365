//! Decides which addresses the proxy may dial.
//!
//! A name does not say where it leads: its DNS can point at this host, at a cloud's metadata service or into the
//! private network around (docs/threat-model.md H20). So each address is classified after resolution, right before it
//! is dialed, and all but public ones need a rule that is pinned to the requested host.

use crate::net::{Host, is_made_up};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an address. Documentation ranges are `Public`: some sites and our lab route them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// An ordinary address.
    Public,
    /// RFC 1918, shared (RFC 6598), unique local and site-local addresses.
    Private,
    /// `0.0.0.0/8`, `::`: on Linux another way to write loopback.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16` (most clouds' metadata), `fe80::/10`.
    LinkLocal,
    /// Metadata services outside the link-local ranges.
    Metadata,
    Multicast,
    /// Broadcast, class E, and IETF protocol assignments.
    Reserved,
    /// The pools from which our resolver makes addresses up.
    MadeUp,
    /// An address of this host.
    Own,
}

impl Class {
    /// Returns the class in the words of a refusal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Class::Public => "public address",
            Class::Private => "private address",
            Class::Unspecified => "unspecified address",
            Class::Loopback => "loopback address",
            Class::LinkLocal => "link-local address",
            Class::Metadata => "metadata address",
            Class::Multicast => "multicast address",
            Class::Reserved => "reserved address",
            Class::MadeUp => "made-up address",
            Class::Own => "address of this host",
        }
    }

    /// Returns whether an address of this class may be dialed for `host`.
    pub(crate) fn permits(self, host: &Host, address: IpAddr, trust: AddressTrust) -> bool {
        match self {
            Class::Public => true,
            Class::Private => trust != AddressTrust::None,
            _ if trust != AddressTrust::Host => false,
            Class::Loopback if host.as_name() == Some("localhost") => true,
            _ => host.ip() == Some(address),
        }
    }
}

/// How far the verdict vouches for the addresses behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AddressTrust {
    /// Not at all: the rule that allows it matches other hosts too.
    None,
    /// No rule vouches, but nothing is to be blocked (`--dry-run`, `--log-only`): private ranges pass as they would
    /// with the rule that is yet to be written. The rest does not: no rule a user writes by accident opens those.
    Observed,
    /// The rule matches this host alone.
    Host,
}

/// What a run would do about the address of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreseen {
    /// It may be dialed.
    Permitted,
    /// It may not.
    Refused(Class),
    /// The name is not looked up, so this is not known.
    NotLookedUp,
}

/// Foresees it for a host that a rule allows; `is_pinned` says that the rule matches this host alone.
pub(crate) fn foresee(host: &Host, is_pinned: bool) -> Foreseen {
    let localhost = (host.as_name() == Some("localhost")).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let Some(address) = host.ip().map(|ip| ip.to_canonical()).or(localhost) else {
        return Foreseen::NotLookedUp;
    };
    let class = match classify(address) {
        Class::Public | Class::Private if is_surely_own(address) => Class::Own,
        class => class,
    };
    let trust = if is_pinned {
        AddressTrust::Host
    } else {
        AddressTrust::None
    };
    match class.permits(host, address, trust) {
        true => Foreseen::Permitted,
        false => Foreseen::Refused(class),
    }
}

/// As [`is_own`], but for a host that cannot tell: nothing is dialed here.
fn is_surely_own(address: IpAddr) -> bool {
    #[cfg(target_os = "linux")]
    return crate::proxy::netlink::is_local(address).unwrap_or(false);
    #[cfg(not(target_os = "linux"))]
    return is_own(address);
}

/// Classifies an address, through every form that carries an IPv4 address in an IPv6 one.
pub(crate) fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => classify_v4(v4),
            None => classify_v6(v6),
        },
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        // Azure's wire server and Alibaba's metadata service.
        [168, 63, 129, 16] | [100, 100, 100, 200] => Class::Metadata,
        [224..=239, ..] => Class::Multicast,
        // Oracle's metadata service answers in 192.0.0.0/24 (RFC 6890).
        [240..=255, ..] | [192, 0, 0, _] => Class::Reserved,
        _ if is_made_up(address.into()) => Class::MadeUp,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        _ => Class::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // AWS and Google.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Class::Metadata,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        _ if is_made_up(address.into()) => Class::MadeUp,
        // NAT64 with a local prefix (RFC 8215): where the IPv4 address lies in it is not to be known. Discard-only.
        [0x64, 0xff9b, 1, ..] | [0x100, 0, 0, 0, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

/// Returns the IPv4 address that a translator or a tunnel would make of an IPv6 one.
pub(crate) fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // `::` and `::1` look like IPv4-compatible addresses and are not.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        // IPv4-translated (RFC 2765), NAT64's well-known prefix (RFC 6052), ISATAP (RFC 5214).
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(join(high, low)),
        // 6to4 (RFC 3056); Teredo's client, written inverted (RFC 4380).
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x2001, 0, .., high, low] => Some(join(!high, !low)),
        _ => None,
    }
}

/// Returns whether `address` is this host's: an interface has it, or a route makes it local. A host that cannot tell
/// counts every address as its own.
#[cfg(target_os = "linux")]
pub(crate) fn is_own(address: IpAddr) -> bool {
    crate::proxy::netlink::is_local(address).unwrap_or(true)
}

/// Returns whether an interface of this host has `address`. A host that cannot tell counts every address as its own.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_own(address: IpAddr) -> bool {
    #[cfg(unix)]
    {
        use nix::sys::socket::SockaddrStorage;
        let ip_of = |address: SockaddrStorage| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        };
        match nix::ifaddrs::getifaddrs() {
            Ok(mut interfaces) => interfaces.any(|i| i.address.and_then(ip_of) == Some(address)),
            Err(_) => true,
        }
    }
    // An address that a socket can be bound to is this host's.
    #[cfg(not(unix))]
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests;
