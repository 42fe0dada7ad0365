//! The node file: which cgroups, units and containers `httpjail node` holds, each under which policy.
//!
//! Pure, and as strict as a policy file: it is read by the same code, and every error has its place.

mod pattern;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use pattern::Pattern;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::FileError;
use super::text::Text;
use crate::config::options::{LogFormat, UpstreamNetwork};
use schema::{JailEntry, Schema};

/// The JSON Schema (2020-12) of a node file.
pub(crate) const NODE_SCHEMA: &str = include_str!("schema.json");

/// A name of a jail is no longer: it becomes part of a file's name.
const NAME_BYTES: usize = 64;

/// The content of a node file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeFile {
    /// What is held, in order: what several of them match is held by the first.
    pub jails: Vec<Jail>,
    /// The cgroups in which everything is closed that is not held: paths without `*`.
    pub closed: Vec<Pattern>,
    /// Where the figures are served.
    pub metrics: Option<SocketAddr>,
}

/// A jail, or as many as there are cgroups of one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jail {
    /// Its name.
    pub name: String,
    /// What is held.
    pub held: Held,
    /// By which policy; without one everything is denied.
    pub policy: Option<Policy>,
    /// What it says of itself where it is listed.
    pub labels: BTreeMap<String, String>,
    /// The request log; `*` stands for what the pattern's `*` matched.
    pub log: Option<String>,
    /// Its form.
    pub log_format: Option<LogFormat>,
    /// Whether it judges and logs, and refuses nothing.
    pub dry_run: bool,
    /// Who may connect to what the processes listen on.
    pub inbound: Vec<String>,
    /// Whose network leads to servers.
    pub upstream_network: Option<UpstreamNetwork>,
}

/// What a jail holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// Each cgroup at such a path.
    Cgroups(Pattern),
    /// A unit of systemd.
    Unit(String),
    /// A container.
    Container(String),
}

/// Where a policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Policy {
    /// A name among root's policies.
    Named(String),
    /// An absolute path.
    At(PathBuf),
}

/// Reads a node file. `name` is its path, for messages.
///
/// # Errors
/// Returns a [`FileError`] for anything that is not exactly a node file.
pub(crate) fn load(name: &str, bytes: Vec<u8>) -> Result<NodeFile, FileError> {
    let text = Text::new(name, bytes)?;
    let (schema, lines): (Schema, _) = text.read(&mut Vec::new())?;
    let places = lines.items("jails", schema.jails.len()).map(<[usize]>::to_vec);
    let line = |index: usize| {
        let known = places.as_ref().and_then(|lines| lines.get(index));
        known.copied().unwrap_or_else(|| text.line_of("jails"))
    };
    let mut jails: Vec<Jail> = Vec::new();
    for (index, entry) in schema.jails.into_iter().enumerate() {
        let wrong = |wrong: Wrong| {
            let error = text.origin().error_at(line(index), &wrong.word, wrong.message);
            match wrong.hint {
                Some(hint) => error.hinted(hint),
                None => error,
            }
        };
        let jail = jail(entry).map_err(wrong)?;
        if jails.iter().any(|earlier| earlier.name == jail.name) {
            return Err(wrong(Wrong::new(
                &jail.name,
                format!("a second jail of the name `{}`", jail.name),
            )));
        }
        jails.push(jail);
    }
    let mut closed = Vec::new();
    for path in schema.closed.0 {
        let wrong = |message: String| text.origin().error_at(text.line_of("closed"), &path, message);
        let pattern = Pattern::parse(&path).map_err(wrong)?;
        if pattern.stars() > 0 {
            return Err(wrong(format!(
                "invalid cgroup `{path}`: one that is closed is named without `*`"
            )));
        }
        closed.push(pattern);
    }
    Ok(NodeFile {
        jails,
        closed,
        metrics: schema.metrics.map(|address| address.0),
    })
}

/// What is wrong with an entry, and the word that is.
struct Wrong {
    word: String,
    message: String,
    hint: Option<String>,
}

impl Wrong {
    fn new(word: &str, message: impl Into<String>) -> Wrong {
        Wrong {
            word: word.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    fn hinted(self, hint: &str) -> Wrong {
        Wrong {
            hint: Some(hint.to_owned()),
            ..self
        }
    }
}

fn jail(entry: JailEntry) -> Result<Jail, Wrong> {
    let name = entry.name;
    if !is_plain(&name) {
        return Err(
            Wrong::new(&name, format!("invalid name `{}`", name.escape_debug())).hinted(
                "a name has letters, digits, `-`, `_` and `.`, at most 64 of them, and begins with a letter or a digit",
            ),
        );
    }
    let given = [entry.cgroup.is_some(), entry.unit.is_some(), entry.container.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(
            Wrong::new(&name, format!("the jail `{name}` does not name one thing to hold"))
                .hinted("it has `cgroup:`, or `unit:`, or `container:`"),
        );
    }
    let cgroups = entry.cgroup.map(|path| {
        let pattern = Pattern::parse(&path).map_err(|message| Wrong::new(&path, message));
        pattern.map(Held::Cgroups)
    });
    let held = cgroups
        .or(entry.unit.map(|unit| Ok(Held::Unit(unit))))
        .or(entry.container.map(|container| Ok(Held::Container(container))))
        .ok_or_else(|| Wrong::new(&name, "nothing to hold"))??;
    let policy = entry.policy.map(|policy| match policy.starts_with('/') {
        true => Ok(Policy::At(policy.into())),
        false if is_plain(&policy) => Ok(Policy::Named(policy)),
        false => Err(
            Wrong::new(&policy, format!("invalid policy `{}`", policy.escape_debug()))
                .hinted("a name, of policies/NAME.yaml beside the node file, or an absolute path"),
        ),
    });
    for (label, value) in &entry.labels {
        if !is_label(label) || value.chars().any(char::is_control) {
            return Err(Wrong::new(label, format!("invalid label `{}`", label.escape_debug()))
                .hinted("a label is named by letters, digits and `_`, and its value is one line"));
        }
    }
    if let Some(log) = &entry.log {
        let stars = match &held {
            Held::Cgroups(pattern) => pattern.stars(),
            Held::Unit(_) | Held::Container(_) => 0,
        };
        let wanted = usize::from(stars > 0);
        if !log.starts_with('/') || log.matches('*').count() != wanted {
            return Err(Wrong::new(log, format!("invalid log `{}`", log.escape_debug())).hinted(match wanted {
                0 => "an absolute path",
                _ => "an absolute path with one `*`, which stands for what the `*` of the cgroup matched: each jail has a log of its own",
            }));
        }
    }
    Ok(Jail {
        name,
        held,
        policy: policy.transpose()?,
        labels: entry.labels,
        log: entry.log,
        log_format: entry.log_format,
        dry_run: entry.dry_run.unwrap_or(false),
        inbound: entry.inbound.0,
        upstream_network: entry.upstream_network,
    })
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    name.len() <= NAME_BYTES && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

fn is_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= NAME_BYTES && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain)
}
