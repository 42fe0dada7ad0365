//! Protects files and directories while the jail lives: the authority's key, the approving program, the log.
//!
//! A cover is a mount on a path. The same file may have another path, where a part of its file system is mounted a
//! second time, so each path is covered. A user who may write to a directory can rename the directories in it; then the
//! cover moves along, and a replacement is found at the old path. A mount point cannot be renamed, so such directories
//! are made mount points.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::operations::{MountError, bind, bind_with, cover_directory, mounted, remount_read_only};
use crate::jail::sandbox::mountinfo::{self, Mount};

/// A file that the command must not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// A path without links.
    pub path: PathBuf,
    /// How much of it the jail sees.
    pub how: Keeping,
}

/// What a jailed program finds in a kept file's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// Nothing.
    Unseen,
    /// The file, read-only.
    ReadOnly,
    /// The same, and the directories above it keep their names.
    InPlace,
}

/// Hides and keeps these from a command of that user and group.
pub(super) fn arrange(hidden: &[PathBuf], kept: &[Kept], owner: (u32, u32)) -> Result<(), MountError> {
    // As it is before any of this is mounted.
    let mounts = mounted()?;
    let user = owner.0;
    let hidden = hidden.iter().flat_map(|directory| names(&mounts, directory));
    let hidden: Vec<PathBuf> = hidden.collect();
    let kept = kept.iter().flat_map(|kept| {
        let names = names(&mounts, &kept.path).into_iter();
        names.map(|name| (name, kept.how))
    });
    let kept: Vec<(PathBuf, Keeping)> = kept.collect();

    let in_place = kept.iter().filter(|(_, how)| *how == Keeping::InPlace);
    let all = hidden.iter().chain(in_place.map(|(name, _)| name));
    // From the top down: what is below a mount that comes later is not seen any more.
    let pins: BTreeSet<PathBuf> = all.flat_map(|path| movable(path, user)).collect();
    for pin in pins {
        if !mounts.iter().any(|mount| mount.target == pin) {
            let pinned = bind_with(MsFlags::MS_REC, &pin, &pin);
            pinned.map_err(|error| MountError { step: "pin", ..error })?;
        }
    }
    for directory in &hidden {
        cover_directory(directory, owner)?;
    }
    for (name, how) in &kept {
        match how {
            Keeping::Unseen => bind(Path::new("/dev/null"), name)?,
            Keeping::ReadOnly | Keeping::InPlace => {
                bind(name, name)?;
                let flags = mountinfo::of(&mounts, name).map_or(MsFlags::empty(), |mount| mount.flags);
                remount_read_only(name, flags)?;
            }
        }
    }
    Ok(())
}

/// All names of what is at `path`, this one first.
fn names(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Vec::new();
    };
    let same = |name: &PathBuf| {
        fs::symlink_metadata(name).is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()))
    };
    let others = mountinfo::elsewhere(mounts, path).into_iter().filter(same);
    std::iter::once(path.to_owned()).chain(others).collect()
}

/// The directories above `path` that `user` could rename.
fn movable(path: &Path, user: u32) -> Vec<PathBuf> {
    let directories = path
        .ancestors()
        .skip(1)
        .filter(|directory| directory.parent().is_some());
    directories
        .filter(|directory| may_rename(directory, user).unwrap_or(true))
        .map(Path::to_owned)
        .collect()
}

/// Whether `user` may give `directory` another name. Groups are not looked into, so the answer may be yes where it should be no.
fn may_rename(directory: &Path, user: u32) -> io::Result<bool> {
    let above = fs::symlink_metadata(directory.parent().unwrap_or(directory))?;
    let is_own = |found: &fs::Metadata| found.uid() == user;
    let sticky = above.mode() & 0o1000 != 0;
    let writes = above.mode() & 0o022 != 0 && (!sticky || is_own(&fs::symlink_metadata(directory)?));
    Ok(user == 0 || is_own(&above) || writes)
}
