//! Values of one line: texts, a duration, an address, the version of the format.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::net::HostPattern;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::error::HINT;

/// The only version of the format.
const VERSION: u64 = 1;

/// A string, a list of strings, or nothing.
#[derive(Debug, Default)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

/// Hosts by name: one, a list, or nothing.
#[derive(Debug, Default)]
pub(super) struct Hosts(pub(super) Vec<HostPattern>);

struct OneHost(HostPattern);

/// A number of seconds.
#[derive(Debug)]
pub(super) struct Seconds(pub(super) Duration);

/// `ADDR:PORT`.
#[derive(Debug)]
pub(super) struct Address(pub(super) SocketAddr);

/// `version: 1`, the only one.
#[derive(Debug)]
pub(super) struct Version;

/// Reads an address of this host and a port; `localhost` is 127.0.0.1.
///
/// # Errors
/// Returns a message if the text is neither.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let port = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse::<u16>().ok());
    let local = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let parsed = text.parse().ok().or(local);
    parsed.ok_or_else(|| "it is an address of this host and a port, such as 127.0.0.1:8080".to_owned())
}

/// Reads a positive number of seconds, decimals allowed.
///
/// # Errors
/// Returns a message for zero, for text that is not a number, and for a time that a clock cannot count.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration `{text}`: expected a positive number of seconds");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong());
    }
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let duration =
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("invalid duration `{text}`: too many seconds"))?;
    if duration.is_zero() {
        return Err(wrong());
    }
    // A deadline must fit into the clock: some 30 years are plenty.
    if duration > Duration::from_secs(1_000_000_000) {
        return Err(format!("invalid duration `{text}`: too many seconds"));
    }
    Ok(duration)
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;
        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_unit<E: Error>(self) -> Result<OneOrMany, E> {
                Ok(OneOrMany::default())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![number.to_string()]))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut all = OneOrMany::default();
                while let Some(item) = list.next_element::<String>()? {
                    all.0.push(item);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

impl<'de> Deserialize<'de> for OneHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HostVisitor;
        impl Visitor<'_> for HostVisitor {
            type Value = OneHost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host name")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneHost, E> {
                HostPattern::parse(text).map(OneHost).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(HostVisitor)
    }
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HostsVisitor;
        impl<'de> Visitor<'de> for HostsVisitor {
            type Value = Hosts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host or a list of hosts")
            }

            fn visit_unit<E: Error>(self) -> Result<Hosts, E> {
                Ok(Hosts::default())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Hosts, E> {
                HostPattern::parse(text)
                    .map(|host| Hosts(vec![host]))
                    .map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hosts, A::Error> {
                let mut all = Hosts::default();
                while let Some(host) = list.next_element::<OneHost>()? {
                    all.0.push(host.0);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(HostsVisitor)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a positive number of seconds")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Seconds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Seconds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
                parse_seconds(text).map(Seconds).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressVisitor;
        impl Visitor<'_> for AddressVisitor {
            type Value = Address;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address and a port")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Address, E> {
                parse_address(text).map(Address).map_err(|_| {
                    E::custom(format!(
                        "invalid address `{text}`: expected an address and a port{HINT}such as 127.0.0.1:8080 or '[::1]:8080'"
                    ))
                })
            }
        }
        deserializer.deserialize_str(AddressVisitor)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VersionVisitor;
        impl Visitor<'_> for VersionVisitor {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{VERSION}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Version, E> {
                if number == VERSION {
                    return Ok(Version);
                }
                Err(E::custom(format!(
                    "this httpjail reads files of version {VERSION}, and this one says {number}"
                )))
            }
        }
        deserializer.deserialize_any(VersionVisitor)
    }
}
