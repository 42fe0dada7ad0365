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
pub(crate) use runs::{Claimed, RunName, StaleCgroup, stale_cgroups};

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

use removal::remove;
use runs::BELOW;

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
        let parent = mount::parent()?;
        Self::make(parent.join(RunName::own()?.to_string()))
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
        match Self::make(own.join(format!("{BELOW}{}", RunName::own()?))) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(CgroupError::ReadOnly(_)) => Ok(None),
            Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(path: PathBuf) -> Result<Self, CgroupError> {
        mount::make_directory(&path)?;
        let opened = File::open(&path).and_then(|directory| {
            directory.try_lock()?;
            Ok((directory.metadata()?.ino(), directory))
        });
        match opened {
            Ok((id, directory)) => Ok(Cgroup {
                path,
                directory,
                id,
                removed: false,
            }),
            Err(source) => {
                let _ = fs::remove_dir(&path);
                Err(CgroupError::Io {
                    operation: "open",
                    path,
                    source,
                })
            }
        }
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
