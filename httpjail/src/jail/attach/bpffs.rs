//! The file system for pins (bpffs) that an attachment uses: one that is mounted, or httpjail's own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};

use crate::failure::Failure;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};

/// Below a bpffs, everything of httpjail's.
const DIRECTORY: &str = "httpjail";
/// The directory on which httpjail mounts a bpffs if there is none.
const OWN_MOUNT: &str = "bpf";

/// Returns the directory for new pins. Call it, like all that changes pins, with the [`super::lock::lock_pins`] held.
///
/// # Errors
/// When there is no bpffs and none can be mounted, or it is not root's alone.
pub(super) fn make() -> Result<PathBuf, Failure> {
    let parent = bpffs()?.join(DIRECTORY);
    make_folder(&parent)?;
    Ok(parent)
}

/// Returns the directories with pins, in every bpffs that is mounted here. Any user may write to a bpffs that was mounted without a
/// mode (kernel/bpf/inode.c: 1777), and root removes what is found here, so only root's own directories count.
pub(super) fn all() -> impl Iterator<Item = PathBuf> {
    let directories = mounts().into_iter().map(|mount| mount.join(DIRECTORY));
    directories.filter(|directory| is_roots_alone(directory))
}

/// Returns true if the pins stay as long as the machine runs: a bpffs ends with the last mount namespace that has it.
pub(crate) fn is_lasting() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    namespace("self") == namespace("1")
}

/// Removes a directory of pins with what is in it. The last one takes httpjail's own bpffs along.
///
/// # Errors
/// Naming what stays.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    let there = |done: io::Result<()>| match done {
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(told),
    };
    for entry in fs::read_dir(directory).into_iter().flatten() {
        there(entry.and_then(|entry| fs::remove_file(entry.path())))?;
    }
    there(fs::remove_dir(directory))?;
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    // Fails if these were not the last pins: then the directory is not empty.
    if fs::remove_dir(parent).is_ok() && parent.parent() == Some(&own_mount()) {
        umount(&own_mount())?;
        fs::remove_dir(own_mount())?;
    }
    Ok(())
}

/// Returns true if something is mounted there in any mount namespace that has a process or is kept. Removing the directory
/// would unmount it there too (fs/namespace.c, `__detach_mounts`), and open the cgroups that it keeps closed.
pub(super) fn is_mounted_anywhere(place: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    let place = place.display().to_string();
    processes.flatten().any(|process| {
        let table = fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default();
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            fields.get(4).is_some_and(|at| at.ends_with(&place))
                || fields.get(3).is_some_and(|root| root.starts_with("mnt:"))
        })
    })
}

/// Creates the directory, or checks that only root can write to an existing one.
fn make_folder(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display()))),
    }
    if is_roots_alone(path) {
        Ok(())
    } else {
        Err(Failure::new(format!("{} is not root's alone", path.display())))
    }
}

/// Returns true if this is a directory (not a link to one) that only root can read, in a directory of root's: no other user
/// can replace it there, because a bpffs is always sticky.
fn is_roots_alone(directory: &Path) -> bool {
    let is_roots = |path: &Path, others: u32| {
        fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & others == 0)
    };
    is_roots(directory, 0o077) && directory.parent().is_some_and(|parent| is_roots(parent, 0))
}

pub(super) fn own_mount() -> PathBuf {
    Path::new(RUN_DIR).join(OWN_MOUNT)
}

/// Returns a writable bpffs: one that is mounted, or httpjail's own.
fn bpffs() -> Result<PathBuf, Failure> {
    if let Some(found) = mounts().into_iter().next() {
        return Ok(found);
    }
    let own = own_mount();
    let mounted = make_run_dir()
        .and_then(|()| match DirBuilder::new().mode(0o700).create(&own) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        })
        .and_then(|()| {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            Ok(mount(Some("bpf"), &own, Some("bpf"), flags, Some("mode=0700"))?)
        });
    mounted.map_err(|error| {
        let _ = fs::remove_dir(&own);
        Failure {
            hint: Some("mount -t bpf -o mode=0700 bpf /sys/fs/bpf".into()),
            ..Failure::new(format!(
                "no bpffs is mounted, and none can be mounted at {}: {error}",
                own.display()
            ))
        }
    })?;
    Ok(own)
}

/// Where a bpffs is mounted for writing.
fn mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let writable = options.split(',').any(|option| option == "rw");
        // A path with a blank would have octal digits here. Such mount points are not in use.
        (kind == "bpf" && writable && !point.contains('\\')).then(|| PathBuf::from(point))
    });
    mounts.collect()
}
