//! The cgroup of a jail: made below the cgroup2 mount, killed and removed when the run ends.
//!
//! The programs judge a socket by the cgroup that its maker was in, so nobody in the jail may be able to leave: moving a
//! process needs write permission on a common ancestor, hence the root-owned parent. Names say whose run a cgroup is
//! ([`RunName`]), so that what a killed httpjail left behind can be told from what is in use.

mod mount;
mod runs;

pub(crate) use mount::mount_point;
pub(crate) use runs::{Claimed, Leftover, RunName, leftovers};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the processes of a killed cgroup may take to go.
const KILL_BOUND: Duration = Duration::from_secs(10);

/// How the name of a run's cgroup begins that lies below its caller's own.
const BELOW: &str = "httpjail-";

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
    #[error("the cgroup {} is not there, and only root may make it", .0.display())]
    NotRoots(PathBuf),
    /// Processes survived the kill.
    #[error("the processes in {} did not end within {} s", .0.display(), KILL_BOUND.as_secs())]
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
            CgroupError::Unsafe { path, .. } if path.ends_with(mount::PARENT) => {
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

/// The cgroup of one run. Dropping it kills everything in it and removes it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Locked as long as this process lives: the run lives as well, whatever its name says.
    directory: File,
    id: u64,
    removed: bool,
}

impl Cgroup {
    /// Makes a fresh cgroup for a run of this process.
    ///
    /// # Errors
    /// When there is no writable cgroup2 mount, the parent is not root's alone, or this process may not make cgroups.
    pub(crate) fn create() -> Result<Self, CgroupError> {
        let parent = mount::parent()?;
        Self::make(parent.join(RunName::own()?.to_string()))
    }

    /// The same below the cgroup that this process is in, if it may make one there: whoever is not root may where a part of
    /// the tree was given to him, and what he may write there his jail could write too.
    ///
    /// # Errors
    /// As for [`Cgroup::create`].
    pub(crate) fn below_own() -> Result<Option<Self>, CgroupError> {
        let Some(own) = mount::own_cgroup()? else {
            return Ok(None);
        };
        match Self::make(own.join(format!("{BELOW}{}", RunName::own()?))) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(CgroupError::ReadOnly(_)) => Ok(None),
            Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(path: PathBuf) -> Result<Self, CgroupError> {
        make_directory(&path)?;
        let opened = File::open(&path).and_then(|directory| {
            directory.try_lock()?;
            Ok((directory.metadata()?.ino(), directory))
        });
        match opened {
            Ok((id, directory)) => Ok(Cgroup {
                path,
                directory,
                id,
                removed: false,
            }),
            Err(source) => {
                let _ = fs::remove_dir(&path);
                Err(CgroupError::Io {
                    operation: "open",
                    path,
                    source,
                })
            }
        }
    }

    /// The cgroup's id: what `bpf_get_current_cgroup_id` says inside, and the key of its configuration. It is the inode number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that takes a process in when its number (0 for the writer itself) is written to it. Never let it be open in
    /// a jailed process: the right to write was checked when it was opened.
    #[cfg(test)]
    pub(crate) fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Kills what is in it and removes it, as dropping it does, and tells if that failed.
    ///
    /// # Errors
    /// When its processes do not go within ten seconds (an uninterruptible wait), or when it cannot be removed.
    pub(crate) fn remove(mut self) -> Result<(), CgroupError> {
        self.removed = true;
        remove(&self.path)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, "a cgroup stays behind");
        }
    }
}

fn make_directory(path: &Path) -> Result<(), CgroupError> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => CgroupError::ReadOnly(path.to_owned()),
            _ => CgroupError::Io {
                operation: "make the cgroup",
                path: path.to_owned(),
                source,
            },
        })
}

fn remove(path: &Path) -> Result<(), CgroupError> {
    kill(path, Instant::now() + KILL_BOUND)?;
    remove_tree(path)
}

/// A jailed process with its own cgroup namespace may have made cgroups below its own.
fn remove_tree(path: &Path) -> Result<(), CgroupError> {
    let io = |operation| {
        move |source| CgroupError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    for entry in fs::read_dir(path).map_err(io("read"))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path).map_err(io("remove"))
}

/// Kills what is in it, one by one, until there is nothing more to kill.
fn kill_each(path: &Path, deadline: Instant) -> Result<(), CgroupError> {
    loop {
        let mut pids = Vec::new();
        processes(path, &mut pids);
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            // It may have ended by itself.
            let _ = signal::kill(pid, Signal::SIGKILL);
        }
        if Instant::now() >= deadline {
            return Err(CgroupError::StillPopulated(path.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn processes(path: &Path, into: &mut Vec<Pid>) {
    let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    into.extend(pids(&listed));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            processes(&entry.path(), into);
        }
    }
}

/// The processes in a `cgroup.procs`. One of another PID namespace is listed as 0, and to kill that would be to kill whoever is
/// in this process's own group.
fn pids(listed: &str) -> impl Iterator<Item = Pid> {
    let numbers = listed.lines().filter_map(|pid| pid.parse().ok());
    numbers.filter(|pid| *pid > 0).map(Pid::from_raw)
}

/// Kills what is in it, and waits until that is gone: until `deadline`.
fn kill(path: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let io = |operation, file: &Path| {
        let file = file.to_owned();
        move |source| CgroupError::Io {
            operation,
            path: file,
            source,
        }
    };
    let file = path.join("cgroup.kill");
    match fs::write(&file, "1") {
        // Linux 5.14 is the first to have it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.join("cgroup.procs").exists() => {
            kill_each(path, deadline)?
        }
        written => written.map_err(io("write", &file))?,
    }

    let file = path.join("cgroup.events");
    let events = File::open(&file).map_err(io("open", &file))?;
    loop {
        // Read before poll: reading is what arms it (fs/kernfs/file.c, `kernfs_generic_poll`).
        let mut text = String::new();
        io::Read::read_to_string(&mut &events, &mut text).map_err(io("read", &file))?;
        if !text.lines().any(|line| line == "populated 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CgroupError::StillPopulated(path.to_owned()));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(io("wait for", &file)(error.into())),
        }
        io::Seek::rewind(&mut &events).map_err(io("read", &file))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_kills_his_own_process_group() {
        let found: Vec<i32> = pids("12\n0\n-1\nx\n7\n").map(Pid::as_raw).collect();
        assert_eq!(found, [12, 7]);
    }
}
