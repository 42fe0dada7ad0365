//! The children that hold cgroups, units and containers: an `httpjail attach` each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use super::child::{Child, Holds, Wanted, words};
use super::source::Source;
use super::tree::{self, Changes};
use crate::config::file::node::{Held, Jail, NodeFile};
use crate::config::options::Word;
use crate::failure::Failure;
use crate::jail::attach::again::is_settled;
use crate::jail::attach::closed;
use crate::jail::attach::closer::Closer;
use crate::jail::attach::{Place, Target, is_at};

/// How long whoever starts a process may take until it executes what it is for. The cgroup is closed meanwhile.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// The longest name of a run.
const NAME_BYTES: usize = 64;

/// What has to happen before a child can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing.
    Now,
    /// Whoever starts its processes goes on to their program.
    Soon,
    /// There is nothing that could be held, or it is empty.
    Later,
}

/// Returns the children that are wanted, by their keys. `changes` watches where others could appear.
pub(super) fn wanted(file: &NodeFile, source: &Source, mount: &Path, changes: &Changes) -> BTreeMap<String, Wanted> {
    let cgroups = tree::find(mount, file, &mut |directory| changes.watch(directory));
    let cgroups = cgroups.into_iter().filter_map(|found| {
        let jail = file.jails.get(found.jail)?;
        let within = found
            .path
            .strip_prefix(mount)
            .unwrap_or(&found.path)
            .display()
            .to_string();
        let stands_for = found.parts.join("-");
        let title = match stands_for.is_empty() {
            true => format!("{} ({within})", jail.name),
            false => format!("{}.{stands_for} ({within})", jail.name),
        };
        let key = format!("cgroup {} {}", found.id, found.path.display());
        let place = words([&"--cgroup", &found.path]);
        Some(of(
            jail,
            source,
            &stands_for,
            (key, title, place),
            Holds::Cgroup(found.path, found.id),
        ))
    });
    let places = file.jails.iter().filter_map(|jail| {
        let (option, name, place) = match &jail.held {
            Held::Cgroups(_) => return None,
            Held::Unit(name) => ("--unit", name, Place::Unit(name.clone())),
            Held::Container(name) => ("--container", name, Place::Container(name.clone())),
        };
        let (key, title) = (place.to_string(), format!("{} ({place})", jail.name));
        Some(of(
            jail,
            source,
            "",
            (key, title, words([&option, name])),
            Holds::Place(place),
        ))
    });
    cgroups
        .chain(places)
        .map(|wanted| (wanted.key.clone(), wanted))
        .collect()
}

fn of(
    jail: &Jail,
    source: &Source,
    stands_for: &str,
    (key, title, place): (String, String, Vec<OsString>),
    holds: Holds,
) -> Wanted {
    let policy = jail.policy.as_ref().map(|policy| source.policy(policy));
    let mut arguments = words([&"attach"]);
    arguments.extend(place);
    arguments.extend(words([&"--name", &named(&jail.name, stands_for, &holds)]));
    for (key, value) in &jail.labels {
        arguments.extend(words([&"--label", &format!("{key}={value}")]));
    }
    if let Some(policy) = &policy {
        arguments.extend(words([&"--config", policy]));
    }
    if let Some(log) = &jail.log {
        arguments.extend(words([&"--log", &log.replacen('*', stands_for, 1)]));
    }
    if let Some(format) = jail.log_format {
        arguments.extend(words([&"--log-format", &format.word()]));
    }
    if jail.dry_run {
        arguments.extend(words([&"--dry-run"]));
    }
    for peer in &jail.inbound {
        arguments.extend(words([&"--inbound", peer]));
    }
    if let Some(network) = jail.upstream_network {
        arguments.extend(words([&"--upstream-network", &network.word()]));
    }
    Wanted {
        key,
        title,
        arguments,
        policy,
        holds,
    }
}

/// The name by which it is listed, logged and counted: that of the jail, with what the `*` stand for.
fn named(jail: &str, stands_for: &str, holds: &Holds) -> String {
    if stands_for.is_empty() {
        return jail.to_owned();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    let name = format!("{jail}.{stands_for}");
    match holds {
        // Two that differ only in what a name cannot have get two names.
        Holds::Cgroup(_, id) if name.len() > NAME_BYTES || !name.chars().all(plain) => {
            let short: String = name
                .chars()
                .map(|c| if plain(c) { c } else { '_' })
                .take(NAME_BYTES / 2)
                .collect();
            format!("{short}-{id}")
        }
        _ => name,
    }
}

/// Closes what the child is to hold, unless a cgroup above is closed, and says whether the child can be started.
///
/// # Errors
/// When it cannot be closed.
pub(super) fn prepare(child: &mut Child, closer: &Closer, changes: &Changes) -> Result<Start, Failure> {
    if let Holds::Place(place) = &child.wanted.holds {
        // What does not run is looked for again. What runs has a cgroup, and its attachment follows it from there.
        let Ok(path) = place.find() else {
            return Ok(Start::Later);
        };
        let id = Target::open(&path)?.id();
        let found = Some((path, id));
        child.closed &= child.cgroup == found;
        child.cgroup = found;
    }
    let Some((path, id)) = child.cgroup.clone() else {
        return Ok(Start::Later);
    };
    if !is_at(&path, id) {
        return Ok(Start::Later);
    }
    if !child.closed {
        if !closed::is_closed(&path, id) {
            closer.close(&Target::open(&path)?, false)?;
        }
        changes.watch_population(&path);
        child.closed = true;
    }
    // The network of its processes is known when there are some.
    if !tree::is_populated(&path) {
        child.populated = None;
        return Ok(Start::Later);
    }
    let target = Target::open(&path)?;
    let since = *child.populated.get_or_insert_with(Instant::now);
    match is_settled(&target) || since.elapsed() > SETTLE_LIMIT {
        true => Ok(Start::Now),
        false => Ok(Start::Soon),
    }
}
