//! `limits:` of a policy file: the bounds of the proxy that the author changes.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::values::Seconds;

/// The bounds that a file sets; `None` where it does not. The file has times in seconds.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "keys such as `connections:`"
)]
#[expect(missing_docs, reason = "each is the bound of that name in proxy::Limits")]
pub struct Limits {
    #[serde(deserialize_with = "number::<_, 1, 1_000_000>")]
    pub connections: Option<u32>,
    #[serde(deserialize_with = "number::<_, 1, 1_000_000>")]
    pub requests: Option<u32>,
    #[serde(deserialize_with = "number::<_, 1, 10_000>")]
    pub streams: Option<u32>,
    #[serde(deserialize_with = "number::<_, 1, 1_000_000>")]
    pub upstreams: Option<u32>,
    /// Enough for a few connections.
    #[serde(deserialize_with = "number::<_, 33_554_432, 4_294_967_295>")]
    pub memory_bytes: Option<u32>,
    #[serde(deserialize_with = "number::<_, 1, 10_000>")]
    pub header_fields: Option<u32>,
    /// At least the size that hyper requires of its buffer.
    #[serde(deserialize_with = "number::<_, 8192, 16_777_216>")]
    pub header_bytes: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    pub silence_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub arrival_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub header_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub handshake_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub stall_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub resolve_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub tls_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub response_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "number::<_, 0, 10_000>")]
    pub idle_per_host: Option<u32>,
    #[serde(deserialize_with = "number::<_, 0, 1_000_000>")]
    pub idle_hosts: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    pub grace: Option<Duration>,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
}

fn number<'de, D: Deserializer<'de>, const LEAST: u64, const MOST: u64>(from: D) -> Result<Option<u32>, D::Error> {
    struct NumberVisitor<const LEAST: u64, const MOST: u64>;
    impl<const LEAST: u64, const MOST: u64> Visitor<'_> for NumberVisitor<LEAST, MOST> {
        type Value = Option<u32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number from {LEAST} to {MOST}")
        }

        fn visit_unit<E: Error>(self) -> Result<Option<u32>, E> {
            Ok(None)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Option<u32>, E> {
            let inside = (LEAST..=MOST)
                .contains(&number)
                .then(|| u32::try_from(number).ok())
                .flatten();
            inside.map(Some).ok_or_else(|| {
                E::custom(format!(
                    "invalid value `{number}`: expected a number from {LEAST} to {MOST}"
                ))
            })
        }
    }
    from.deserialize_any(NumberVisitor::<LEAST, MOST>)
}
