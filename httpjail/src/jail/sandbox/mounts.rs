//! The jail's view of the file system: the host's, with the ways out covered, and with files that make programs trust
//! the proxy.
//!
//! Every mount is in the mount namespace of the jail's init and ends with it: no file and no mount of the host changes.
//! The files laid over the host's are on a small tmpfs of the namespace ([`crate::jail::sandbox::run_dir::place`] says
//! where).

pub(crate) mod additions;
mod cgroups;
mod devices;
mod generated;
mod kept;
mod kernel;
mod operations;
mod terminals;
mod view;

pub(crate) use generated::Generated;
pub(crate) use kept::{Keeping, Kept};
pub(crate) use operations::MountError;
pub(crate) use terminals::NO_NAME_FOR;
pub(crate) use view::{Overlay, View};

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sys::stat::{Mode, umask};

use super::nested;
use operations::{bind, cover_directory, hold, is_there, raw, remount_read_only, write};

/// What came of arranging it.
#[derive(Debug)]
pub(crate) struct Arranged {
    /// What could not be done and did not matter.
    pub notes: Vec<String>,
    /// What must stay open as long as the jail lives.
    pub held: Vec<OwnedFd>,
    /// The files of the sockets that stay reachable.
    pub allowed: Vec<OwnedFd>,
    /// Directories from which what the command does is carried back.
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
    kept::arrange(&view.hidden, &view.kept, view.owner)?;
    for directory in &view.outside.directories {
        cover_directory(directory, view.owner)?;
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

/// Covers a socket with a file that nobody listens on: `connect` answers ECONNREFUSED.
fn cover_socket(socket: &Path) -> Result<(), MountError> {
    match fs::symlink_metadata(socket) {
        Ok(_) => match bind(Path::new("/dev/null"), socket) {
            // Gone a moment ago: whoever removed it is not to keep the jail from starting.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            bound => bound,
        },
        // Covered with its directory, or gone since it was listed.
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => Ok(()),
        Err(source) => Err(MountError {
            step: "look at",
            path: socket.into(),
            source,
        }),
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
            if generated.iter().any(|directory| directory.has(covered)) || !is_there(covered, fs::Metadata::is_file)? {
                continue;
            }
            if fs::metadata(covered).is_ok_and(|found| found.nlink() == 0) {
                // Nothing can be mounted on it (fs/namespace.c, lock_mount).
                notes.push(format!(
                    "{} is mounted from a deleted file, so it cannot be replaced",
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

/// Puts an allowed socket back in its place, in a directory that may have been covered.
fn uncover(path: &Path, socket: &OwnedFd) -> Result<(), MountError> {
    if fs::symlink_metadata(path).is_err() {
        write(path, b"").map_err(|source| MountError {
            step: "create a mount point for",
            path: path.into(),
            source,
        })?;
    }
    bind(&PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd())), path)
}
