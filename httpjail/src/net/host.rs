//! The canonical host of a URL, an SNI or a DNS question: one spelling for each, anything ambiguous refused.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host in its one canonical spelling: a lower-case ASCII (IDNA) name without a trailing dot, an IPv4 address in
/// dotted-quad form, or an IPv6 address. `Display` writes it as it stands in a URL (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name: letters, digits, hyphens and underscores, at most 253 bytes.
    Name(String),
    /// An IPv4 literal.
    V4(Ipv4Addr),
    /// An IPv6 literal; never v4-mapped (that becomes `V4`).
    V6(Ipv6Addr),
}

/// Why a spelling is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// Something that no host may contain, or a spelling that clients read differently.
    #[error("{0}")]
    Malformed(&'static str),
}
