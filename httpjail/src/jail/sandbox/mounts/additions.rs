//! Adds files to directories where the host has none.
//!
//! A mount needs a mount point. Where the host has no such file, a tmpfs covers the nearest existing directory above
//! it, everything in that directory is bound back, and the missing part is created. A directory above a given floor is
//! never covered: the jail does not see what appears later in a covered directory.

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
    pub path: PathBuf,
    /// No directory above this one is covered.
    pub floor: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Makes the file appear. Returns what stood in the way, if that was the floor.
pub(crate) fn add(addition: &Addition) -> Result<Option<String>, MountError> {
    let path = &addition.path;
    let directory = path
        .ancestors()
        .skip(1)
        .find(|directory| directory.is_dir())
        .unwrap_or(Path::new("/"));
    if !directory.starts_with(&addition.floor) {
        let (path, floor) = (path.display(), addition.floor.display());
        return Ok(Some(format!("{path} is not added: {floor} does not exist")));
    }
    let inside = hold(directory)?;
    let inside = PathBuf::from(format!("/proc/self/fd/{}", inside.as_raw_fd())).join(".");
    let entries = fs::read_dir(&inside).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|source| failed("list", directory, source))?;
    raw(
        "cover",
        directory,
        Some("tmpfs"),
        Some("tmpfs"),
        FLAGS,
        Some("mode=0755,size=1m"),
    )?;
    for entry in entries {
        let (name, from) = (directory.join(entry.file_name()), inside.join(entry.file_name()));
        if name == *path {
            continue;
        }
        bring_back(&from, &name).map_err(|source| failed("bring back", &name, source))?;
    }
    write(path, &addition.content).map_err(|source| failed("write", path, source))?;
    remount_read_only(directory, FLAGS)?;
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
