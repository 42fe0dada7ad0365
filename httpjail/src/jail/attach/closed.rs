//! Cgroups that are closed until something holds them: `httpjail node` closes a parent, and whatever is made below it.
//!
//! A closed cgroup has a directory `BPFFS/httpjail/closed-ID`, named by its id, with a pin for each link of its programs
//! ([`super::closing_program`]), one for the map of those that are held (`held`), and a symbolic link `cgroup` to the cgroup. So it stays closed when
//! the node is killed, and what is held below it stays held.
//!
//! Whoever attaches adds the cgroup's id to these maps once its own programs are in place and pinned, which deny everything until they are
//! configured, and takes it out before the pins go. So there is no moment at which neither is closed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::bpffs;
use super::closing_program::{HOOKS, Held};
use super::lock::lock_pins;
use super::target::{is_at, mount_point};
use crate::failure::Failure;
use crate::sys::bpf::{self, Map};

pub(super) const PREFIX: &str = "closed-";
pub(super) const PLACE: &str = "cgroup";
pub(super) const HELD: &str = "held";
/// Beside them if httpjail has made the cgroup.
pub(super) const MADE: &str = "made";

/// A cgroup that is closed until something holds it.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(super) directory: PathBuf,
    /// The cgroup's id.
    pub id: u64,
    /// The cgroup's path.
    pub cgroup: PathBuf,
}

impl Closed {
    /// Returns all that there are.
    pub(crate) fn all() -> Vec<Closed> {
        let entries = bpffs::all().flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten());
        let closed = entries.filter_map(|entry| {
            let id = entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok()?;
            Closed::at(entry.path(), id)
        });
        closed.collect()
    }

    fn at(directory: PathBuf, id: u64) -> Option<Closed> {
        let cgroup = fs::read_link(directory.join(PLACE)).unwrap_or_default();
        directory.is_dir().then_some(Closed { directory, id, cgroup })
    }

    /// Returns true if the cgroup is gone, and its programs with it: only names are left.
    pub(crate) fn is_stale(&self) -> bool {
        !is_at(&self.cgroup, self.id)
    }

    /// Opens it, and what is below it that nothing else holds. One that httpjail made goes, if it is empty.
    ///
    /// # Errors
    /// Naming what stays.
    pub(crate) fn open(&self) -> Result<(), Failure> {
        let _lock = lock_pins(&|_| {})?;
        let made = fs::symlink_metadata(self.directory.join(MADE)).is_ok();
        bpffs::remove(&self.directory)
            .map_err(|error| Failure::new(format!("cannot open {}: {error}", self.cgroup.display())))?;
        if made {
            // What has processes or cgroups below it stays.
            let _ = fs::remove_dir(&self.cgroup);
        }
        Ok(())
    }

    /// Returns true if all of its pins are there.
    pub(super) fn is_whole(&self) -> bool {
        let names = HOOKS.iter().map(|(name, _)| *name).chain([HELD, PLACE]);
        names
            .map(|name| self.directory.join(name))
            .all(|path| fs::symlink_metadata(path).is_ok())
    }

    fn held(&self) -> io::Result<Held> {
        Map::new(bpf::obj_get(&self.directory.join(HELD))?)
    }
}

/// Lets what the programs of an attachment let through pass the closed cgroups above it, and itself if it is closed so.
///
/// # Errors
/// When a map cannot be written.
pub(super) fn pass(cgroup: &Path, id: u64) -> Result<(), Failure> {
    let noted = write(cgroup, id, |held| held.update(&id, &1));
    noted.map_err(|error| {
        Failure::new(format!(
            "cannot note in the closed cgroup above {} that it is held: {error}",
            cgroup.display()
        ))
    })
}

/// The reverse of [`pass`], before the attachment's own programs go.
///
/// # Errors
/// When a map cannot be written.
pub(super) fn shut(cgroup: &Path, id: u64) -> io::Result<()> {
    write(cgroup, id, |held| held.remove(&id))
}

fn write(cgroup: &Path, id: u64, change: impl Fn(&Held) -> io::Result<()>) -> io::Result<()> {
    above(cgroup, id)?.iter().try_for_each(|closed| match closed.held() {
        // It has been opened meanwhile, or its maker was killed before the programs were pinned.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        held => change(&held?),
    })
}

/// Returns true if the cgroup, or one above it, is closed.
pub(crate) fn is_closed(cgroup: &Path, id: u64) -> bool {
    above(cgroup, id).is_ok_and(|closed| closed.iter().any(Closed::is_whole))
}

/// The closed cgroups at and above a cgroup, which may be gone.
fn above(cgroup: &Path, id: u64) -> io::Result<Vec<Closed>> {
    // Directories outside of the tree have numbers of their own.
    let mount = mount_point().map_err(|failure| io::Error::other(failure.message))?;
    let ancestors = cgroup.ancestors().skip(1).take_while(|above| above.starts_with(&mount));
    let ancestors = ancestors.filter_map(|above| Some(fs::metadata(above).ok()?.ino()));
    let ids: Vec<u64> = ancestors.chain([id]).collect();
    let directories: Vec<PathBuf> = bpffs::all().collect();
    let named = directories.iter().flat_map(|directory| {
        ids.iter()
            .filter_map(|id| Closed::at(directory.join(format!("{PREFIX}{id}")), *id))
    });
    Ok(named.collect())
}

/// Removes the names of closed cgroups that are gone. Returns what could not be removed.
pub(crate) fn remove_stale() -> Vec<String> {
    let stale = Closed::all().into_iter().filter(Closed::is_stale);
    stale
        .filter_map(|closed| closed.open().err())
        .map(|failure| failure.message)
        .collect()
}
