//! Why a cgroup cannot be made or removed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The directory of all runs, below the mount.
pub(super) const PARENT: &str = "httpjail";

/// How long the processes of a killed cgroup may take to go.
pub(super) const KILL_BOUND: Duration = Duration::from_secs(10);

/// Why there is no cgroup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// Nothing of that type in `/proc/self/mountinfo`.
    #[error("no cgroup2 file system is mounted (hint: mount -t cgroup2 none /sys/fs/cgroup)")]
    NotMounted,
    /// Inside a container, usually.
    #[error("the cgroup2 mount {} is read-only, as in a container without its own writable cgroup tree", .0.display())]
    ReadOnly(PathBuf),
    /// Somebody else could move processes out of the jail.
    #[error("the cgroup {} belongs to uid {uid} with mode {mode:03o}; it must be root's, and writable by root alone", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Whoever is not root would own it, and could move processes out of the jails of others.
    #[error("the cgroup {} does not exist, and only root may create it", .0.display())]
    NotRoots(PathBuf),
    /// Processes survived the kill.
    #[error("the processes in {} are still there after {} s", .0.display(), KILL_BOUND.as_secs())]
    StillPopulated(PathBuf),
    /// A file operation.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl CgroupError {
    /// What to do about it, where something can be done.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            // What somebody who is not root but had CAP_DAC_OVERRIDE may have left.
            CgroupError::Unsafe { path, .. } if path.ends_with(PARENT) => {
                Some(format!("if no jail runs, remove it: sudo rmdir {}", path.display()))
            }
            CgroupError::NotRoots(_) => Some("run httpjail with sudo".into()),
            CgroupError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run httpjail with sudo, or give it CAP_DAC_OVERRIDE".into())
            }
            _ => None,
        }
    }
}
