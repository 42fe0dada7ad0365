//! `no_proxy`: the hosts that are reached directly.
//!
//! There is no standard for it. This is what curl and Go's net/http have in common: a name covers itself and its
//! subdomains, an address itself, a network its addresses, `*` everything, and a port may follow. Names are not
//! resolved for it.

use crate::net::Host;
use std::net::IpAddr;

/// The hosts that no other proxy is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NoProxy(Vec<Exception>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Everything,
    /// A name; with what is below it, or only that.
    Name {
        name: String,
        itself: bool,
    },
    /// An address and the number of its bits that count.
    Network(IpAddr, u8),
}

impl NoProxy {
    /// Reads a list, divided by commas or blanks. What is no entry covers nothing: it goes through the proxy, and is
    /// told.
    pub(crate) fn parse(list: &str) -> NoProxy {
        let words = list.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        let exceptions = words.filter_map(|word| {
            let exception = Exception::parse(word);
            if exception.is_none() {
                tracing::warn!(
                    "no_proxy: `{}` is not a host, an address or a network",
                    word.escape_debug()
                );
            }
            exception
        });
        NoProxy(exceptions.collect())
    }

    /// Returns whether nothing at all goes through a proxy.
    pub(crate) fn everything(&self) -> bool {
        let everything = |exception: &Exception| exception.pattern == Pattern::Everything && exception.port.is_none();
        self.0.iter().any(everything)
    }

    pub(crate) fn covers(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|exception| exception.covers(host, port))
    }
}

impl Exception {
    fn parse(word: &str) -> Option<Exception> {
        let whole = |pattern| Some(Exception { pattern, port: None });
        if let Ok(address) = word.parse::<IpAddr>() {
            return whole(Pattern::Network(address.to_canonical(), u8::MAX));
        }
        if let Some((address, bits)) = word.split_once('/') {
            let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
            return whole(Pattern::Network(address, bits));
        }
        let (pattern, port) = crate::proxy::authority::split_port(word);
        let port = match port {
            None => None,
            Some(port) => Some(port.parse().ok()?),
        };
        let pattern = match pattern {
            "*" => Pattern::Everything,
            _ => {
                let below = pattern.strip_prefix("*.");
                let name = below.or(pattern.strip_prefix('.')).unwrap_or(pattern);
                match Host::parse(name).ok()? {
                    Host::Name(name) => Pattern::Name {
                        name,
                        itself: below.is_none(),
                    },
                    host => Pattern::Network(host.ip()?, u8::MAX),
                }
            }
        };
        Some(Exception { pattern, port })
    }

    fn covers(&self, host: &Host, port: u16) -> bool {
        if self.port.is_some_and(|only| only != port) {
            return false;
        }
        match (&self.pattern, host) {
            (Pattern::Everything, _) => true,
            (Pattern::Name { name, itself }, Host::Name(host)) => match host.strip_suffix(name.as_str()) {
                Some("") => *itself,
                Some(above) => above.ends_with('.'),
                None => false,
            },
            (Pattern::Network(network, bits), host) => {
                host.ip().is_some_and(|address| within(address, *network, *bits))
            }
            (Pattern::Name { .. }, _) => false,
        }
    }
}

/// Returns whether `address` has the first `bits` bits of `network`; all of them where that are more than it has.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (address, network) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits()),
        _ => return false,
    };
    let ignored = 128 - u32::from(bits.min(128));
    (address ^ network).checked_shr(ignored).unwrap_or(0) == 0
}
