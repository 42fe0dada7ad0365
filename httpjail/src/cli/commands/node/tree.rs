//! The cgroups that a node file matches, and being told of new ones (inotify(7) on the cgroup tree).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::config::file::node::{Held, NodeFile, Pattern};
use crate::failure::Failure;

/// No node holds more.
pub(super) const MOST: usize = 10_000;
/// So many names of one directory are looked at.
const NAMES_MOST: usize = 20_000;

/// A cgroup that is to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub path: PathBuf,
    pub id: u64,
    /// Which entry of the node file matches it.
    pub jail: usize,
    /// What its `*` stand for.
    pub parts: Vec<String>,
}

/// Finds all cgroups that are to be held. `watch` is called with each directory before it is read. The first entry that matches a cgroup
/// counts, and what is below a cgroup that is held is held with it.
pub(super) fn find(mount: &Path, file: &NodeFile, watch: &mut dyn FnMut(&Path)) -> Vec<Found> {
    let mut found = BTreeMap::new();
    for (jail, entry) in file.jails.iter().enumerate() {
        if let Held::Cgroups(pattern) = &entry.held {
            walk(mount, pattern, watch, &mut |path, parts| {
                let Ok(id) = fs::metadata(&path).map(|cgroup| cgroup.ino()) else {
                    return;
                };
                let new = Found {
                    path: path.clone(),
                    id,
                    jail,
                    parts,
                };
                if found.len() < MOST {
                    found.entry(path).or_insert(new);
                }
            });
        }
    }
    let is_below = |path: &Path| path.ancestors().skip(1).any(|above| found.contains_key(above));
    found
        .values()
        .filter(|cgroup| !is_below(&cgroup.path))
        .cloned()
        .collect()
}

/// Calls `found` with each directory that matches, and what the `*` stand for.
fn walk(mount: &Path, pattern: &Pattern, watch: &mut dyn FnMut(&Path), found: &mut dyn FnMut(PathBuf, Vec<String>)) {
    let mut level = vec![(mount.to_owned(), Vec::new())];
    for name in pattern.names() {
        let mut below = Vec::new();
        for (directory, parts) in level {
            watch(&directory);
            for entry in names(&directory, name) {
                let matched = Pattern::part(name, &entry).unwrap_or_default();
                let parts = [parts.clone(), matched.into_iter().map(str::to_owned).collect()].concat();
                below.push((directory.join(&entry), parts));
            }
        }
        level = below;
    }
    level.into_iter().for_each(|(path, parts)| found(path, parts));
}

/// Returns the cgroups right below a directory whose names match.
fn names(directory: &Path, pattern: &str) -> Vec<String> {
    if !pattern.contains('*') {
        let is_there = fs::symlink_metadata(directory.join(pattern)).is_ok_and(|found| found.is_dir());
        return is_there.then(|| pattern.to_owned()).into_iter().collect();
    }
    // httpjail's own cgroups are nobody's to hold.
    children(directory)
        .into_iter()
        .filter(|name| !name.starts_with("httpjail") && Pattern::part(pattern, name).is_some())
        .collect()
}

/// Returns the names of the cgroups right below one.
pub(super) fn children(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let cgroups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    cgroups
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(NAMES_MOST)
        .collect()
}

/// Tells that something has changed in the directories that are watched.
pub(super) struct Changes(Inotify);

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Those of inotify_init1(2).
    pub(super) fn new() -> Result<Changes, Failure> {
        let made = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        made.map(Changes)
            .map_err(|error| Failure::new(format!("cannot watch for new cgroups: {error}")))
    }

    /// Watches for cgroups that are made in a directory. One that is watched already stays so; one that is removed is forgotten by the
    /// kernel.
    pub(super) fn watch(&self, directory: &Path) {
        // Without a watch the tick remains.
        let _ = self
            .0
            .add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR);
    }

    /// Watches whether a cgroup gets its first process, or loses its last.
    pub(super) fn watch_population(&self, cgroup: &Path) {
        let _ = self
            .0
            .add_watch(&cgroup.join("cgroup.events"), AddWatchFlags::IN_MODIFY);
    }

    /// Forgets what has been told.
    pub(super) fn forget(&self) {
        while self.0.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether there is a process in a cgroup, or below it.
pub(super) fn is_populated(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::node;

    #[test]
    fn the_first_entry_counts_and_what_is_below_is_held_with_it() {
        let mount = tempfile::tempdir().expect("a folder");
        for path in ["a/x/y", "a/z", "b/c", "a/httpjail-canary"] {
            fs::create_dir_all(mount.path().join(path)).expect("made");
        }
        let text = "jails:\n- {name: one, cgroup: a/x}\n- {name: two, cgroup: 'a/*'}\n- {name: three, cgroup: '*/*/*'}\n- {name: four, cgroup: b}\n";
        let file = node::load("node.yaml", text.as_bytes().to_vec()).expect("a node file");
        let mut watched = Vec::new();
        let found = find(mount.path(), &file, &mut |path| watched.push(path.to_owned()));
        let told: Vec<(String, usize, String)> = found
            .iter()
            .map(|found| {
                let path = found.path.strip_prefix(mount.path()).expect("below");
                (path.display().to_string(), found.jail, found.parts.join(","))
            })
            .collect();
        let expected = [("a/x", 0, ""), ("a/z", 1, "z"), ("b", 3, "")];
        assert_eq!(
            told,
            expected.map(|(path, jail, parts)| (path.to_owned(), jail, parts.to_owned()))
        );
        for path in ["", "a", "b"] {
            assert!(watched.contains(&mount.path().join(path)), "{path:?}: {watched:?}");
        }
    }
}
