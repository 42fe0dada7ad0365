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

// Stub, to be replaced by the real parser of this branch's sibling.
impl Host {
    /// Parses one spelling of a host.
    pub fn parse(text: &str) -> Result<Host, HostError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if let Ok(ip) = name.parse::<Ipv4Addr>() {
            return Ok(Host::V4(ip));
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
        let labels_fit = name.split('.').all(|l| (1..=63).contains(&l.len()));
        let letters = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if numeric || !labels_fit || !letters || name.len() > 253 {
            return Err(HostError::Malformed("no host name"));
        }
        Ok(Host::Name(name))
    }
}
