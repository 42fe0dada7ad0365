//! The keys of a policy file, as serde reads them. Values are checked while they are read, so that an error knows its
//! position.
//!
//! `schema.json` beside this file says the same to editors; a test compares the two.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::entry::{ActionWord, Entry};
use super::error::with_hint;
use super::limits::Limits;
use super::values::{Address, Hosts, OneOrMany, Seconds, Version};
use crate::audit::SummaryForm;
use crate::config::options::{Auth, Backend, DnsMode, Level, LogFormat, UpstreamNetwork, word};
use crate::policy::{Action, Target, request};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "keys such as `rules:`")]
pub(super) struct Schema {
    #[serde(rename = "version")]
    _version: Option<Version>,
    pub(super) rules: Option<Vec<Entry>>,
    #[serde(default, rename = "use")]
    pub(super) uses: OneOrMany,
    #[serde(default)]
    pub(super) groups: Groups,
    #[serde(default)]
    pub(super) groups_from: OneOrMany,
    pub(super) tests: Option<Vec<TestEntry>>,
    pub(super) logging: Option<Logging>,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Option<Limits>,
    #[serde(default)]
    pub(super) label: OneOrMany,
    pub(super) dry_run: Option<bool>,
    pub(super) log_only: Option<bool>,
    pub(super) no_tls_intercept: Option<bool>,
    pub(super) weak: Option<bool>,
    pub(super) interactive: Option<bool>,
    pub(super) approve_with: Option<String>,
    pub(super) approve_timeout: Option<Seconds>,
    pub(super) ephemeral_ca: Option<bool>,
    #[serde(default, deserialize_with = "word")]
    pub(super) dns: Option<DnsMode>,
    #[serde(default, deserialize_with = "word")]
    pub(super) backend: Option<Backend>,
    pub(super) user: Option<String>,
    pub(super) timeout: Option<Seconds>,
    pub(super) log: Option<String>,
    #[serde(default, deserialize_with = "word")]
    pub(super) log_format: Option<LogFormat>,
    #[serde(default, deserialize_with = "word")]
    pub(super) summary: Option<SummaryForm>,
    pub(super) quiet: Option<bool>,
    pub(super) verbose: Option<u8>,
    #[serde(default)]
    pub(super) publish: OneOrMany,
    #[serde(default)]
    pub(super) allow_socket: OneOrMany,
    #[serde(default)]
    pub(super) upstream_ca: OneOrMany,
    pub(super) listen: Option<Address>,
    #[serde(default, deserialize_with = "word")]
    pub(super) auth: Option<Auth>,
    #[serde(default)]
    pub(super) inbound: OneOrMany,
    #[serde(default, deserialize_with = "word")]
    pub(super) upstream_network: Option<UpstreamNetwork>,
}

/// A file of `groups-from:`, which has nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "`groups:`")]
pub(super) struct GroupsSchema {
    #[serde(rename = "version")]
    _version: Option<Version>,
    #[serde(default)]
    pub(super) groups: Groups,
    #[serde(default)]
    pub(super) groups_from: OneOrMany,
}

/// `logging:` of a policy file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys such as `level:`")]
pub struct Logging {
    /// The level of httpjail's own messages.
    #[serde(default, deserialize_with = "word")]
    pub level: Option<Level>,
    /// Where the request log goes.
    pub file: Option<String>,
    /// Its form.
    #[serde(default, deserialize_with = "word")]
    pub format: Option<LogFormat>,
}

/// `tls:` of a policy file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "keys such as `passthrough:`")]
pub(super) struct Tls {
    pub(super) passthrough: Hosts,
}

/// `groups:`: names, and the rules of each, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Groups(pub(super) Vec<(String, Vec<Entry>)>);

/// One of `tests:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a test: `request:` and `verdict:`")]
pub(super) struct TestEntry {
    pub(super) request: RequestText,
    #[serde(deserialize_with = "verdict")]
    pub(super) verdict: Action,
}

#[derive(Debug)]
pub(super) struct RequestText(pub(super) Target);

fn verdict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    ActionWord::deserialize(deserializer).map(|word| word.0)
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GroupsVisitor;
        impl<'de> Visitor<'de> for GroupsVisitor {
            type Value = Groups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of groups, each with a list of rules")
            }

            fn visit_unit<E: Error>(self) -> Result<Groups, E> {
                Ok(Groups::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Groups, A::Error> {
                let (mut groups, mut names) = (Vec::new(), HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("duplicate group `{name}`")));
                    }
                    groups.push((name, map.next_value::<Option<_>>()?.unwrap_or_default()));
                }
                Ok(Groups(groups))
            }
        }
        deserializer.deserialize_any(GroupsVisitor)
    }
}

impl<'de> Deserialize<'de> for RequestText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RequestVisitor;
        impl Visitor<'_> for RequestVisitor {
            type Value = RequestText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request, such as `GET https://example.com/`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RequestText, E> {
                request::read(text)
                    .map(RequestText)
                    .map_err(|error| with_hint(&error, error.hint()))
            }
        }
        deserializer.deserialize_str(RequestVisitor)
    }
}
