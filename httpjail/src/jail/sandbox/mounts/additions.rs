//! Files that the jail sees in folders where the host has none.
//!
//! A mount needs something to be mounted on. Where the host has no such file, the nearest folder above it that exists is
//! covered by a tmpfs with everything that was in it bound back, and the missing part is made there. That is never done
//! to a folder above a given floor: what appears later in a covered folder, the jail does not see.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::operations::{MountError, failed, hold, raw, remount_read_only, write};

/// A file that appears.
#[derive(Debug, Clone)]
pub(crate) struct Addition {
    /// Where.
    pub path: PathBuf,
    /// No folder above this one is covered.
    pub floor: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Makes the file appear. Returns what stood in the way, if that was the floor.
pub(crate) fn add(addition: &Addition) -> Result<Option<String>, MountError> {
    let path = &addition.path;
    let folder = path
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    if !folder.starts_with(&addition.floor) {
        let (path, floor) = (path.display(), addition.floor.display());
        return Ok(Some(format!("{path} is not added: {floor} does not exist")));
    }
    let inside = hold(folder)?;
    let inside = PathBuf::from(format!("/proc/self/fd/{}", inside.as_raw_fd())).join(".");
    let entries = fs::read_dir(&inside).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|source| failed("list", folder, source))?;
    raw(
        "cover",
        folder,
        Some("tmpfs"),
        Some("tmpfs"),
        FLAGS,
        Some("mode=0755,size=1m"),
    )?;
    for entry in entries {
        let (name, from) = (folder.join(entry.file_name()), inside.join(entry.file_name()));
        if name == *path {
            continue;
        }
        bring_back(&from, &name).map_err(|source| failed("bring back", &name, source))?;
    }
    write(path, &addition.content).map_err(|source| failed("write", path, source))?;
    remount_read_only(folder, FLAGS)?;
    Ok(None)
}

fn bring_back(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        fs::File::create_new(to)?;
    }
    // With what is mounted below: a user namespace may not uncover it (fs/namespace.c, `has_locked_children`).
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(from), to, None::<&str>, flags, None::<&str>)?)
}
