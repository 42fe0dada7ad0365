//! The cgroup of a jail: created below the cgroup2 mount; killed and removed when the run ends.
//!
//! The programs judge a socket by the cgroup of the process that created it, so no jailed process may be able to leave
//! its cgroup. Moving a process needs write permission on a common ancestor, so the parent belongs to root. The name of
//! a cgroup says which run it belongs to ([`RunName`]), so that what a killed httpjail left can be told from what is in
//! use.

mod error;
mod mount;
mod removal;
mod runs;

pub(crate) use error::CgroupError;
pub(crate) use mount::mount_point;
pub(crate) use runs::{Claimed, RunName, StaleCgroup, stale_cgroups, start_time};

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use removal::remove;
use runs::BELOW;

/// How often a cgroup is made anew that another run has removed. Once is rare.
const ATTEMPTS: usize = 8;

/// The cgroup of one run. Dropping it kills everything in it and removes it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Locked as long as this process lives: the run lives as well, whatever its name says.
    directory: File,
    id: u64,
    removed: bool,
}

impl Cgroup {
    /// Makes a fresh cgroup for a run of this process.
    ///
    /// # Errors
    /// When there is no writable cgroup2 mount, the parent is not root's alone, or this process may not make cgroups.
    pub(crate) fn create() -> Result<Self, CgroupError> {
        Self::make(&mount::parent()?, "")
    }

    /// The same below the cgroup that this process is in, if it may make one there: whoever is not root may where a part of
    /// the tree was given to him, and what he may write there his jail could write too.
    ///
    /// # Errors
    /// As for [`Cgroup::create`].
    pub(crate) fn below_own() -> Result<Option<Self>, CgroupError> {
        let Some(own) = mount::own_cgroup()? else {
            return Ok(None);
        };
        match Self::make(&own, BELOW) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(CgroupError::ReadOnly(_)) => Ok(None),
            Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes one by a name that no other has. Before it is locked, a run of another PID namespace may take it for a dead run's,
    /// and remove it: then another is made.
    fn make(place: &Path, prefix: &str) -> Result<Self, CgroupError> {
        let mut path = PathBuf::new();
        for _ in 0..ATTEMPTS {
            path = place.join(format!("{prefix}{}", RunName::own()?));
            mount::make_directory(&path)?;
            match runs::hold(&path) {
                Ok(Some((id, directory))) => {
                    return Ok(Cgroup {
                        path,
                        directory,
                        id,
                        removed: false,
                    });
                }
                Ok(None) => {}
                Err(source) => {
                    let _ = fs::remove_dir(&path);
                    return Err(CgroupError::Io {
                        operation: "open",
                        path,
                        source,
                    });
                }
            }
        }
        Err(CgroupError::Io {
            operation: "keep",
            path,
            source: io::Error::other("other runs of httpjail remove what is made here"),
        })
    }

    /// The cgroup's id: what `bpf_get_current_cgroup_id` says inside, and the key of its configuration. It is the inode number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that takes a process in when its number (0 for the writer itself) is written to it. Never let it be open in
    /// a jailed process: the right to write was checked when it was opened.
    #[cfg(test)]
    pub(crate) fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Kills what is in it and removes it, as dropping it does, and tells if that failed.
    ///
    /// # Errors
    /// When its processes do not go within ten seconds (an uninterruptible wait), or when it cannot be removed.
    pub(crate) fn remove(mut self) -> Result<(), CgroupError> {
        self.removed = true;
        remove(&self.path)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, "cannot remove a cgroup");
        }
    }
}
