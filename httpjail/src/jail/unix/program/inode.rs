//! Identifies a file by the kernel's numbers for its device and inode.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::stat::{major, minor};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};

/// A file, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode {
    pub device: u32,
    pub number: u64,
}

impl Inode {
    /// The file that a path leads to.
    ///
    /// # Errors
    /// Where it lies on a file system whose files have other numbers for programs than for the kernel (overlayfs, btrfs).
    pub(super) fn at(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot inspect {}: {error}", path.display());
        let found = fs::metadata(path).map_err(|error| failed(&error))?;
        let kind = statfs(path).map_err(|error| failed(&error))?.filesystem_type();
        if [EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC].contains(&kind) {
            Ok(Inode::of(found.dev(), found.ino()))
        } else {
            Err(format!(
                "{} is on an unsupported file system: expected ext4, xfs or tmpfs",
                path.display()
            ))
        }
    }

    /// The kernel's number of a device (`MKDEV` of include/linux/kdev_t.h).
    pub(super) fn of(device: u64, number: u64) -> Self {
        Inode {
            device: (major(device) << 20 | minor(device)) as u32,
            number,
        }
    }
}
