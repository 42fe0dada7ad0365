//! The cgroups that are closed for whatever is made below them, and which never are: what is not the node's would be cut off.

use std::fs;
use std::path::{Path, PathBuf};

use super::tree;
use crate::config::file::node::{Held, NodeFile, Pattern};
use crate::failure::Failure;
use crate::jail::attach::closed::Closed;
use crate::jail::attach::closer::Closer;
use crate::jail::attach::pins::Pins;
use crate::jail::attach::{Place, Target};

/// Where the system keeps its own, and engines theirs.
const OF_THE_HOST: [&str; 6] = [
    "system.slice",
    "user.slice",
    "init.scope",
    "machine.slice",
    "docker",
    "libpod_parent",
];
/// The pods of Kubernetes, whichever way the kubelet names them.
const OF_PODS: &str = "kubepods";

/// Returns the paths of those that are to be closed.
pub(super) fn paths(file: &NodeFile, mount: &Path) -> Vec<PathBuf> {
    let path = |pattern: &Pattern| {
        pattern
            .names()
            .iter()
            .fold(mount.to_owned(), |path, name| path.join(name))
    };
    file.closed.iter().map(path).collect()
}

/// Checks that nothing would be cut off that is not the node's.
///
/// # Errors
/// Naming what would be.
pub(super) fn check(file: &NodeFile, mount: &Path) -> Result<(), Failure> {
    let closed = Closed::all();
    for (pattern, path) in file.closed.iter().zip(paths(file, mount)) {
        let refused = |why: String, hint: &str| Failure {
            hint: Some(hint.to_owned()),
            ..Failure::new(format!("{pattern} is not closed: {why}"))
        };
        let names: Vec<&str> = pattern.names().iter().map(String::as_str).collect();
        let first = names.first().copied().unwrap_or_default();
        if first.starts_with(OF_PODS) {
            return Err(refused(
                "in it are the pods of Kubernetes, whose network is set up from inside".to_owned(),
                "give the pods the RuntimeClass of httpjail-runc, which holds each from its first instruction",
            ));
        }
        if first.starts_with("httpjail") || (names.len() == 1 && OF_THE_HOST.contains(&first)) {
            return Err(refused(
                "it is the host's own, or an engine's".to_owned(),
                "make a slice of your own for what is held, such as agents.slice, and close that",
            ));
        }
        if !path.is_dir() {
            continue;
        }
        let target = Target::open(&path)?;
        // What has come since is closed already.
        if closed.iter().any(|closed| closed.id == target.id()) {
            continue;
        }
        let foreign = foreign(file, mount, &path);
        if let Some((path, what)) = foreign.first() {
            let within = path.strip_prefix(mount).unwrap_or(path).display();
            let others = match foreign.len() {
                1 => String::new(),
                more => format!(", nor are {} others", more - 1),
            };
            return Err(refused(
                format!("{within} {what}, which no jail of the node file holds{others}"),
                "add a jail for it, or move it: everything in a closed cgroup is cut off until something holds it",
            ));
        }
    }
    Ok(())
}

/// Closes them. One that is not there is made, so that there is no moment at which something could be made in it unheld.
///
/// # Errors
/// When one cannot be.
pub(super) fn close(file: &NodeFile, mount: &Path, closer: &Closer) -> Result<(), Failure> {
    for path in paths(file, mount) {
        let made = !path.is_dir();
        fs::create_dir_all(&path)
            .map_err(|error| Failure::new(format!("cannot make the cgroup {}: {error}", path.display())))?;
        closer.close(&Target::open(&path)?, made)?;
    }
    Ok(())
}

/// Returns what is at or below a cgroup and would be cut off for good: cgroups that no jail matches, and processes between the levels.
fn foreign(file: &NodeFile, mount: &Path, path: &Path) -> Vec<(PathBuf, &'static str)> {
    let held: Vec<PathBuf> = Pins::all()
        .into_iter()
        .map(|pins| pins.cgroup)
        .chain(places(file))
        .collect();
    let mut found = Vec::new();
    let mut ahead = vec![path.to_owned()];
    while let Some(path) = ahead.pop() {
        let within = path.strip_prefix(mount).unwrap_or(&path);
        let names: Vec<&str> = within.iter().filter_map(|name| name.to_str()).collect();
        let patterns = || {
            file.jails.iter().filter_map(|jail| match &jail.held {
                Held::Cgroups(pattern) => Some(pattern),
                Held::Unit(_) | Held::Container(_) => None,
            })
        };
        if held.contains(&path) || patterns().any(|pattern| pattern.matched(&names).is_some()) {
            continue;
        }
        let reached = file.closed.iter().any(|closed| closed.reaches(&names))
            || patterns().any(|pattern| pattern.reaches(&names))
            || held.iter().any(|held| held.starts_with(&path));
        if !reached {
            found.push((path, "is a cgroup"));
            continue;
        }
        if fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|text| !text.is_empty()) {
            found.push((path.clone(), "has processes"));
        }
        ahead.extend(tree::children(&path).into_iter().map(|name| path.join(name)));
    }
    found
}

/// Returns where units and containers of the node file are.
fn places(file: &NodeFile) -> Vec<PathBuf> {
    let places = file.jails.iter().filter_map(|jail| match &jail.held {
        Held::Cgroups(_) => None,
        Held::Unit(name) => Place::Unit(name.clone()).find().ok(),
        Held::Container(name) => Place::Container(name.clone()).find().ok(),
    });
    places.collect()
}
