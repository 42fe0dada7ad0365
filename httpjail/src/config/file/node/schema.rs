//! The keys of a node file, as serde reads them. `schema.json` beside this file says the same to editors; a test compares the two.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::file::values::{Address, OneOrMany, Version};
use crate::config::options::{LogFormat, UpstreamNetwork, word};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys such as `jails:`")]
pub(super) struct Schema {
    #[serde(rename = "version")]
    _version: Option<Version>,
    #[serde(default)]
    pub(super) jails: Vec<JailEntry>,
    #[serde(default)]
    pub(super) closed: OneOrMany,
    pub(super) metrics: Option<Address>,
}

/// One of `jails:`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a jail: `name:`, `cgroup:` and `policy:`"
)]
pub(super) struct JailEntry {
    pub(super) name: String,
    pub(super) cgroup: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) container: Option<String>,
    pub(super) policy: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) log: Option<String>,
    #[serde(default, deserialize_with = "word")]
    pub(super) log_format: Option<LogFormat>,
    pub(super) dry_run: Option<bool>,
    #[serde(default)]
    pub(super) inbound: OneOrMany,
    #[serde(default, deserialize_with = "word")]
    pub(super) upstream_network: Option<UpstreamNetwork>,
}
