//! From what a user names (a process, a unit, a container) to the cgroup that is attached to.
//!
//! What a name means is read from files and directories that only root can write: a user of the host who could choose what
//! `web` is could have another cgroup held in its place.

mod container;
mod engines;
mod process;
mod unit;

use std::fmt;
use std::path::{Path, PathBuf};

use super::target::{self, mount_point};
use crate::failure::Failure;

/// What a user names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A cgroup, as [`target::find`] takes it.
    Cgroup(PathBuf),
    /// A container of docker, podman, containerd, runc or crun, by its name, its id or how that begins.
    Container(String),
    /// The cgroup of this process.
    Process(i32),
    /// A unit of systemd; `.service` may be left out.
    Unit(String),
}

/// Returns the cgroup of a process as its path in the file system, whoever else is in it.
///
/// # Errors
/// When there is no such process, or its cgroup is none of version 2, the root, or cannot be seen from here.
pub(crate) fn cgroup_of(pid: i32) -> Result<PathBuf, Failure> {
    process::of(pid, &mount_point()?)
}

impl Place {
    /// Returns the cgroup.
    ///
    /// # Errors
    /// When there is none, or more than one; the message says where it was looked for.
    pub(crate) fn find(&self) -> Result<PathBuf, Failure> {
        match self {
            Place::Cgroup(path) => target::find(path),
            Place::Container(name) => container::find(name, Path::new("/"), &mount_point()?),
            Place::Process(pid) => process::find(*pid, &mount_point()?),
            Place::Unit(name) => unit::find(name, &mount_point()?),
        }
    }
}

impl Place {
    /// Returns true if what is started again under this name is meant, too.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(self, Place::Container(_) | Place::Unit(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Cgroup(path) => write!(f, "{}", path.display()),
            Place::Container(name) => write!(f, "the container {}", name.escape_debug()),
            Place::Process(pid) => write!(f, "the cgroup of process {pid}"),
            Place::Unit(name) => write!(f, "the unit {}", unit::full(name).escape_debug()),
        }
    }
}
