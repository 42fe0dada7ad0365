//! The single mounts and file operations that make up a view. Each error names the step and the path.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use crate::jail::sandbox::mountinfo::{self, Mount};

/// A step of the view that failed, on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {path}: {source}")]
pub(crate) struct MountError {
    pub(super) step: &'static str,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

pub(super) fn mounted() -> Result<Vec<Mount>, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read(path).map_err(|source| failed("read", path, source))?;
    Ok(mountinfo::parse(&String::from_utf8_lossy(&table)))
}

/// Covers a directory with an empty one that belongs to the command's user, who may expect to write there.
pub(super) fn cover_directory(directory: &Path, owner: (u32, u32)) -> Result<(), MountError> {
    if !is_there(directory, fs::Metadata::is_dir)? {
        return Ok(());
    }
    let options = format!("mode=0700,uid={},gid={},size=16m", owner.0, owner.1);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    raw("cover", directory, Some("tmpfs"), Some("tmpfs"), flags, Some(&options))
}

/// Whether something of this kind is there, for us and so for the command.
pub(super) fn is_there(path: &Path, kind: fn(&fs::Metadata) -> bool) -> Result<bool, MountError> {
    match fs::metadata(path) {
        Ok(found) => Ok(kind(&found)),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(false),
        Err(source) => Err(failed("look at", path, source)),
    }
}

pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(content)
}

pub(super) fn hold(path: &Path) -> Result<OwnedFd, MountError> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|error| MountError {
        step: "open",
        path: path.into(),
        source: error.into(),
    })
}

pub(super) fn bind(source: &Path, target: &Path) -> Result<(), MountError> {
    bind_with(MsFlags::empty(), source, target)
}

pub(super) fn bind_with(flags: MsFlags, source: &Path, target: &Path) -> Result<(), MountError> {
    let flags = flags | MsFlags::MS_BIND;
    let done = mount(Some(source), target, None::<&str>, flags, None::<&str>);
    done.map_err(|error| MountError {
        step: "bind over",
        path: target.into(),
        source: error.into(),
    })
}

/// `flags` are those that the mount has: in a user namespace they are locked and must be named again.
pub(super) fn remount_read_only(target: &Path, flags: MsFlags) -> Result<(), MountError> {
    let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    raw("make read-only", target, None, None, flags, None)
}

pub(super) fn failed(step: &'static str, path: &Path, source: io::Error) -> MountError {
    MountError {
        step,
        path: path.into(),
        source,
    }
}

pub(super) fn raw(
    step: &'static str,
    target: &Path,
    source: Option<&str>,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), MountError> {
    mount(source, target, kind, flags, options).map_err(|error| MountError {
        step,
        path: target.into(),
        source: error.into(),
    })
}
