//! The jail's view of the file system: the host's, with what leads out covered and what makes it trust us laid over.
//!
//! Everything happens in the mount namespace of the jail's init and ends with it: no file and no mount on the host. The
//! files that are laid over live on a small tmpfs of the namespace ([`place`] says where).

pub(crate) mod additions;
mod cgroups;
mod devices;
mod generated;
mod kept;
mod kernel;
mod terminals;

pub(crate) use generated::Generated;
pub(crate) use kept::{Keeping, Kept};
pub(crate) use terminals::NO_NAME_FOR;

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, umask};

use super::mountinfo::{self, Mount};
use super::nested;
use super::sockets::Outside;
use additions::Addition;

/// Inside a jail a tmpfs with the files laid over others; on the host a folder that root makes once, empty.
pub(crate) const RUN_DIR: &str = "/run/httpjail";

/// Folders that are mostly there and mostly empty, for when nothing better is.
const SPARE_DIRS: [&str; 5] = ["/mnt", "/media", "/srv", "/opt", "/home"];

/// A file that the jail sees in place of the host's.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// Its name below [`View::place`].
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// The host's files that it covers, those that exist.
    pub covers: Vec<PathBuf>,
}

/// Everything that the view needs to know.
#[derive(Debug)]
pub(crate) struct View {
    /// The folder that is covered with the jail's own files ([`place`]).
    pub place: PathBuf,
    /// Files laid over the host's.
    pub overlays: Vec<Overlay>,
    /// The authority's certificate, as it stands in bundles.
    pub authority: Vec<u8>,
    /// Files that appear where the host has none.
    pub additions: Vec<Addition>,
    /// Unix sockets of the host.
    pub outside: Outside,
    /// Folders that the jail must not see (the authority's key, httpjail's state).
    pub hidden: Vec<PathBuf>,
    /// Files that the command must not change.
    pub kept: Vec<Kept>,
    /// Unix sockets that stay reachable (`--allow-socket`).
    pub allowed: Vec<PathBuf>,
    /// Whether the jail has terminals of its own, and sees none of the host's.
    pub own_terminals: bool,
    /// The command's user and group, who own the folders that stand in for covered ones.
    pub owner: (u32, u32),
}

/// A step of the view that failed, on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {path}: {source}")]
pub(crate) struct MountError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Finds a folder for the jail's own files. A mount needs one that exists, and only root can make one that is nobody's:
/// else it is `own`, the authority's, which the jail may not see anyway, or one in which there is nothing to see.
///
/// # Errors
/// When there is none.
pub(crate) fn place(own: &Path) -> io::Result<PathBuf> {
    let run = Path::new(RUN_DIR);
    let made = DirBuilder::new().mode(0o755).create(run);
    if run.is_dir() {
        return Ok(run.into());
    }
    let empty = |dir: &&Path| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    let spare = || SPARE_DIRS.iter().map(Path::new).find(empty);
    let found = Some(own).filter(|own| own.is_dir()).or_else(spare);
    found
        .map(Path::to_owned)
        .ok_or_else(|| made.err().unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Makes the folder of httpjail's own, by root. It is there once it was made.
///
/// # Errors
/// Those of making it, and when it is not root's alone.
pub(crate) fn make_run_dir() -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(RUN_DIR) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(RUN_DIR)?;
    if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("{RUN_DIR} is not a folder of root's alone")))
    }
}

/// What came of arranging it.
#[derive(Debug)]
pub(crate) struct Arranged {
    /// What could not be done and did not matter.
    pub notes: Vec<String>,
    /// What must stay open as long as the jail lives.
    pub held: Vec<OwnedFd>,
    /// The files of the sockets that stay reachable.
    pub allowed: Vec<OwnedFd>,
    /// Folders from which what the command does is carried back.
    pub generated: Vec<Generated>,
}

/// Arranges the view in the calling process's own mount namespace.
///
/// # Errors
/// Naming the step and the path; the command must not start then.
pub(crate) fn arrange(view: &View, user_namespace: bool) -> Result<Arranged, MountError> {
    // The command's user must be able to read what is made here, and the command inherits the caller's own mask.
    let mask = umask(Mode::from_bits_truncate(0o022));
    let arranged = arrange_all(view, user_namespace);
    umask(mask);
    arranged
}

fn arrange_all(view: &View, user_namespace: bool) -> Result<Arranged, MountError> {
    let mut notes = Vec::new();
    // Private, not slave: a mount that appears on the host later must not uncover what is covered here.
    raw(
        "separate the mounts from",
        Path::new("/"),
        None,
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
    )?;
    // Held by descriptor from before anything is covered.
    let allowed = view
        .allowed
        .iter()
        .map(|path| hold(path))
        .collect::<Result<Vec<_>, _>>()?;
    let by_root = view.owner.0 == 0;
    notes.extend(kernel::own_proc(user_namespace, by_root)?);
    let held = devices::arrange(view.own_terminals, &mut notes)?;
    notes.extend(cgroups::arrange(view.owner.0 == 0)?);
    kernel::read_only_sys()?;
    kept::arrange(view)?;
    for folder in &view.outside.folders {
        cover_folder(folder, view.owner)?;
    }
    let generated = if by_root {
        generated::copy(&view.authority, &view.overlays)?
    } else {
        Vec::new()
    };
    notes.extend(lay_files(&view.place, &view.overlays, &generated)?);
    for addition in &view.additions {
        notes.extend(additions::add(addition)?);
    }
    for socket in &view.outside.files {
        cover_socket(socket)?;
    }
    for (path, socket) in view.allowed.iter().zip(&allowed) {
        uncover(path, socket)?;
    }
    if !by_root {
        devices::close()?;
    }
    Ok(Arranged {
        notes,
        held,
        allowed,
        generated,
    })
}

fn mounted() -> Result<Vec<Mount>, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read(path).map_err(|source| failed("read", path, source))?;
    Ok(mountinfo::parse(&String::from_utf8_lossy(&table)))
}

/// Covers a folder with an empty one that belongs to the command's user, who may expect to write there.
fn cover_folder(folder: &Path, owner: (u32, u32)) -> Result<(), MountError> {
    if !is_there(folder, fs::Metadata::is_dir)? {
        return Ok(());
    }
    let options = format!("mode=0700,uid={},gid={},size=16m", owner.0, owner.1);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    raw("cover", folder, Some("tmpfs"), Some("tmpfs"), flags, Some(&options))
}

/// Covers a socket with a file that nobody listens on: `connect` answers ECONNREFUSED.
fn cover_socket(socket: &Path) -> Result<(), MountError> {
    match fs::symlink_metadata(socket) {
        Ok(_) => match bind(Path::new("/dev/null"), socket) {
            // Gone a moment ago: whoever removed it is not to keep the jail from starting.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            bound => bound,
        },
        // Covered with its folder, or gone since it was listed.
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => Ok(()),
        Err(source) => Err(MountError {
            step: "look at",
            path: socket.into(),
            source,
        }),
    }
}

/// Whether something of this kind is there, for us and so for the command.
fn is_there(path: &Path, kind: fn(&fs::Metadata) -> bool) -> Result<bool, MountError> {
    match fs::metadata(path) {
        Ok(found) => Ok(kind(&found)),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(false),
        Err(source) => Err(failed("look at", path, source)),
    }
}

/// Makes the tmpfs, writes each file and binds it over those that it replaces. What stays uncovered is told: the jail would
/// steer and trust all the same, by way of the resolver and of variables.
fn lay_files(run: &Path, overlays: &[Overlay], generated: &[Generated]) -> Result<Vec<String>, MountError> {
    let mut notes = Vec::new();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    raw(
        "mount a tmpfs on",
        run,
        Some(nested::SOURCE),
        Some("tmpfs"),
        flags,
        Some("mode=0755,size=64m"),
    )?;
    for overlay in overlays {
        let file = run.join(&overlay.name);
        write(&file, &overlay.content).map_err(|source| MountError {
            step: "write",
            path: file.clone(),
            source,
        })?;
        for covered in &overlay.covers {
            if generated.iter().any(|folder| folder.has(covered)) || !is_there(covered, fs::Metadata::is_file)? {
                continue;
            }
            if fs::metadata(covered).is_ok_and(|found| found.nlink() == 0) {
                // Nothing can be mounted on it (fs/namespace.c, lock_mount).
                notes.push(format!(
                    "{} was removed where it is mounted from, and stays as it is",
                    covered.display()
                ));
            } else {
                bind(&file, covered)?;
                remount_read_only(covered, flags)?;
            }
        }
    }
    remount_read_only(run, flags)?;
    Ok(notes)
}

pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
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

/// Puts an allowed socket back in its place, in a folder that may have been covered.
fn uncover(path: &Path, socket: &OwnedFd) -> Result<(), MountError> {
    if fs::symlink_metadata(path).is_err() {
        write(path, b"").map_err(|source| MountError {
            step: "make a place for",
            path: path.into(),
            source,
        })?;
    }
    bind(&PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd())), path)
}

pub(super) fn bind(source: &Path, target: &Path) -> Result<(), MountError> {
    bind_with(MsFlags::empty(), source, target)
}

fn bind_with(flags: MsFlags, source: &Path, target: &Path) -> Result<(), MountError> {
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
