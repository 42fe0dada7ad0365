//! Parses the host of a URL, an SNI or a DNS question into its only canonical spelling. Anything ambiguous is refused.
//!
//! A verdict is about a name, and the proxy must connect to the same name. So one parser handles every place that a host can come
//! from. A text that two parsers could read differently (an octal or shortened IPv4, a zone id, a percent escape, a second
//! trailing dot) is not a host. The canonical spelling is judged, resolved, dialed, sent and logged.

mod pattern;

pub use pattern::{HostPattern, HostPatternError};

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// A host in its canonical spelling: a lower-case ASCII (IDNA) name without a trailing dot, an IPv4 address in
/// dotted-quad form, or an IPv6 address. `Display` writes it as in a URL (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name: letters, digits, hyphens and underscores, at most 253 bytes.
    Name(String),
    /// An IPv4 literal.
    V4(Ipv4Addr),
    /// An IPv6 literal; never v4-mapped (that becomes `V4`).
    V6(Ipv6Addr),
}

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The text is empty.
    #[error("the host is empty")]
    Empty,
    /// It contains what no host may contain, or clients read it in different ways.
    #[error("{0}")]
    Malformed(&'static str),
}

/// The longest name in the DNS, in bytes of text without the root's dot (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
/// The longest text that is parsed. A longer name can become shorter in its canonical form, but only so much.
const SPELLING_MAX: usize = 1024;

impl Host {
    /// Parses a host as in a URL's authority (IPv6 in brackets, no port), in an SNI or in a DNS question.
    ///
    /// ```
    /// use httpjail::net::Host;
    ///
    /// assert_eq!(Host::parse("API.Example.com.")?.to_string(), "api.example.com");
    /// assert_eq!(Host::parse("[0:0::1]")?.to_string(), "[::1]");
    /// // Some clients read this as 127.0.0.1.
    /// assert!(Host::parse("127.1").is_err());
    /// # Ok::<(), httpjail::net::HostError>(())
    /// ```
    ///
    /// # Errors
    /// Returns a [`HostError`] if the text is not a host, or if clients read it in different ways.
    pub fn parse(text: &str) -> Result<Host, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > SPELLING_MAX {
            return Err(HostError::Malformed("the host is too long"));
        }
        if let Some(inner) = text.strip_prefix('[') {
            return v6(inner);
        }
        let ascii = to_ascii(text)?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(HostError::Malformed("the host is longer than 253 bytes"));
        }
        name.split('.').try_for_each(label)?;
        if ends_in_number(name) {
            return v4(name);
        }
        Ok(Host::Name(name.to_owned()))
    }

    /// Returns the name, or `None` for an address.
    pub fn as_name(&self) -> Option<&str> {
        match self {
            Host::Name(name) => Some(name),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    /// Returns the address, or `None` for a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

impl From<IpAddr> for Host {
    /// Returns the literal of an address. A v4-mapped IPv6 address becomes its IPv4 address.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Host::V4(v4),
            IpAddr::V6(v6) => Host::V6(v6),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Converts to lower case and IDNA (UTS 46). A host that is canonical already, as most are, is not copied.
fn to_ascii(text: &str) -> Result<Cow<'_, str>, HostError> {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if text.bytes().all(plain) && !text.contains("xn--") {
        return Ok(Cow::Borrowed(text));
    }
    if text.bytes().any(|b| b.is_ascii() && !plain(b.to_ascii_lowercase())) {
        return Err(HostError::Malformed("the host has a character that no host may have"));
    }
    Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Ignore)
        .map_err(|_| HostError::Malformed("the host is not a valid internationalized name"))
}

/// Checks a label: letters, digits, hyphens and underscores, 1 to 63 bytes, no hyphen at either end (RFC 1123 §2.1, and what TLS
/// libraries accept; the underscore is for service names).
fn label(label: &str) -> Result<(), HostError> {
    let bytes = label.as_bytes();
    if bytes.is_empty() || bytes.len() > 63 {
        return Err(HostError::Malformed("the host has an empty or over-long label"));
    }
    if !bytes
        .iter()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    {
        return Err(HostError::Malformed("the host has a character that no host may have"));
    }
    if bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-') {
        return Err(HostError::Malformed(
            "the host has a label that begins or ends with a hyphen",
        ));
    }
    Ok(())
}

/// Returns true if some parser reads this as an IPv4 address (WHATWG URL, "ends in a number checker").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || last.bytes().all(|b| b.is_ascii_digit())
}

/// Parses a plain dotted quad and nothing else. `0177.0.0.1` is 127.0.0.1 for inet_aton and 177.0.0.1 for others; `127.1` is an address
/// for some and a name for others.
fn v4(name: &str) -> Result<Host, HostError> {
    // Rust's parser accepts only four decimal parts without leading zeros.
    name.parse()
        .map(Host::V4)
        .map_err(|_| HostError::Malformed("the host is a number, but not a plain IPv4 address"))
}

/// Parses what follows the opening bracket. Refuses zone ids: they mean an interface of this machine (RFC 6874).
fn v6(inner: &str) -> Result<Host, HostError> {
    let Some(text) = inner.strip_suffix(']') else {
        return Err(HostError::Malformed(
            "the host has an opening bracket without its closing one",
        ));
    };
    let address: Ipv6Addr = text
        .parse()
        .map_err(|_| HostError::Malformed("the host in brackets is not an IPv6 address"))?;
    Ok(Host::from(IpAddr::V6(address)))
}

#[cfg(test)]
mod tests;
