//! The name of a cgroup says which run made it, and so whether that run is dead.

use super::error::{CgroupError, PARENT};
use super::mount::{mount_point, own_cgroup};
use super::removal::{kill, remove_tree};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// How the name of a run's cgroup begins that lies below its caller's own.
pub(super) const BELOW: &str = "httpjail-";

/// The name of a run's cgroup: who its supervisor is, so exactly that no other process is ever taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunName {
    /// The supervisor's process id ...
    pub pid: u32,
    /// ... and when it started (`/proc/PID/stat`, field 22: clock ticks since boot) ...
    pub started: u64,
    /// ... in which PID namespace (its inode number).
    pub pid_namespace: u64,
    /// Which of its jails.
    pub number: u32,
}

impl RunName {
    /// A new name for a run of this process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn own() -> Result<Self, CgroupError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let io = |source| CgroupError::Io {
            operation: "read",
            path: "/proc/self/stat".into(),
            source,
        };
        Ok(RunName {
            pid,
            started: start_time(pid)
                .map_err(io)?
                .ok_or_else(|| io(io::ErrorKind::NotFound.into()))?,
            pid_namespace: own_pid_namespace()?,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Whether its process lives, as far as can be told: one of another PID namespace is taken to.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn may_live(&self) -> Result<bool, CgroupError> {
        Ok(self.pid_namespace != own_pid_namespace()? || self.lives()?)
    }

    /// Whether a process of this PID namespace lives.
    fn lives(&self) -> Result<bool, CgroupError> {
        let started = start_time(self.pid).map_err(|source| CgroupError::Io {
            operation: "look for the supervisor of",
            path: self.to_string().into(),
            source,
        })?;
        Ok(started == Some(self.started))
    }

    /// Reads a name that `Display` wrote; `None` for any other.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("run-")?.split('-');
        let parsed = RunName {
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
            pid_namespace: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl std::fmt::Display for RunName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "run-{}-{}-{}-{}",
            self.pid, self.started, self.pid_namespace, self.number
        )
    }
}

/// A cgroup whose supervisor is dead, or that of another PID namespace, where this process sees nobody.
#[derive(Debug)]
pub(crate) struct StaleCgroup {
    pub path: PathBuf,
    /// Only its lock tells whether its run lives, and nothing in it is killed.
    elsewhere: bool,
    #[cfg(test)]
    pub name: RunName,
}

impl StaleCgroup {
    /// Whether it is one of another PID namespace.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Takes it, to be removed; `None` if it is gone, or another's.
    pub(crate) fn claim(self) -> Option<Claimed> {
        // Locked by its run as long as that lives, whatever its name may seem to say (another /proc, a time namespace); or by
        // another run that removes it just now.
        let directory = File::open(&self.path).ok()?;
        directory.try_lock().ok()?;
        Some(Claimed {
            path: self.path,
            elsewhere: self.elsewhere,
            _directory: directory,
        })
    }
}

/// A cgroup of a dead run that nobody else removes.
#[derive(Debug)]
pub(crate) struct Claimed {
    path: PathBuf,
    elsewhere: bool,
    /// Locked.
    _directory: File,
}

impl Claimed {
    /// Kills what still lives in it, and waits for nothing.
    pub(crate) fn kill(&self) {
        if !self.elsewhere {
            // What goes wrong shows again when it is removed.
            let _ = kill(&self.path, Instant::now());
        }
    }

    /// Kills what still lives in it and removes it, if all of it is gone by then. What is not the next run removes. One of
    /// another PID namespace goes if nothing is in it.
    ///
    /// # Errors
    /// When it cannot be killed or removed.
    pub(crate) fn remove(self, deadline: Instant) -> Result<(), CgroupError> {
        if self.elsewhere {
            // The kernel removes none that has a process.
            let _ = remove_tree(&self.path);
            return Ok(());
        }
        match kill(&self.path, deadline).and_then(|()| remove_tree(&self.path)) {
            Err(CgroupError::StillPopulated(path)) => {
                tracing::info!("{} still has processes of a dead run", path.display());
                Ok(())
            }
            Err(_) if !self.path.exists() => Ok(()),
            removed => removed,
        }
    }
}

/// Locks a cgroup that this process has just made. Returns its id too; `None` if another run took it for a dead one's.
///
/// Whoever removes one holds its lock meanwhile. So once it is locked here, either it is gone already, or nobody else removes
/// it as long as the lock is held.
///
/// # Errors
/// Those of opening and locking it.
pub(super) fn hold(path: &Path) -> io::Result<Option<(u64, File)>> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let directory = match File::open(path) {
        Err(error) if is_gone(&error) => return Ok(None),
        opened => opened?,
    };
    match directory.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    let id = directory.metadata()?.ino();
    match fs::symlink_metadata(path) {
        Err(error) if is_gone(&error) => Ok(None),
        found => Ok((found?.ino() == id).then_some((id, directory))),
    }
}

/// The cgroups of dead runs, and some that are locked if their run lives: those of other PID namespaces.
///
/// # Errors
/// When the tree cannot be read. No error where httpjail never ran.
pub(crate) fn stale_cgroups() -> Result<Vec<StaleCgroup>, CgroupError> {
    let mut found = Vec::new();
    let own_namespace = own_pid_namespace()?;
    // Those of root are all in one place; those of others lie below the cgroup that each started from.
    let places = [
        mount_point().ok().map(|mount| (mount.join(PARENT), "")),
        own_cgroup()?.map(|own| (own, BELOW)),
    ];
    for (place, prefix) in places.into_iter().flatten() {
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                return Err(CgroupError::Io {
                    operation: "read",
                    path: place,
                    source,
                });
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(prefix));
            let Some(name) = name.and_then(RunName::parse) else {
                continue;
            };
            let elsewhere = name.pid_namespace != own_namespace;
            if !elsewhere && name.lives()? {
                continue;
            }
            found.push(StaleCgroup {
                path: entry.path(),
                elsewhere,
                #[cfg(test)]
                name,
            });
        }
    }
    Ok(found)
}

fn own_pid_namespace() -> Result<u64, CgroupError> {
    let path = Path::new("/proc/self/ns/pid");
    let io = |source| CgroupError::Io {
        operation: "look at",
        path: path.to_owned(),
        source,
    };
    fs::metadata(path).map(|metadata| metadata.ino()).map_err(io)
}

/// When a process started; `None` if there is no such process, or it has ended.
pub(crate) fn start_time(pid: u32) -> io::Result<Option<u64>> {
    // The name of a process may be any bytes.
    let mut stat = [0; 1024];
    let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut stat));
    let length = match read {
        Ok(length) => length,
        // ESRCH: it ended between open and read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let stat = String::from_utf8_lossy(&stat[..length]);
    // The name in parentheses may hold anything, spaces and parentheses too; after the last one come fields 3 and on.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    // Dead, and not reaped yet.
    if rest.starts_with(['Z', 'X']) {
        return Ok(None);
    }
    let started = rest
        .split_ascii_whitespace()
        .nth(22 - 3)
        .and_then(|field| field.parse().ok());
    started
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc/PID/stat"))
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let name = RunName {
            pid: 42,
            started: 123_456,
            pid_namespace: 4_026_531_836,
            number: 1,
        };
        assert_eq!(name.to_string(), "run-42-123456-4026531836-1");
        assert_eq!(RunName::parse("run-42-123456-4026531836-1"), Some(name));
        for other in [
            "",
            "run-",
            "run-42-1-2",
            "run-42-1-2-3-4",
            "run-+42-1-2-3",
            "run-042-1-2-3",
            "other-42-1-2-3",
        ] {
            assert_eq!(RunName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_another_removes_is_not_held() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("made");
        assert!(hold(&path).expect("looked at").is_none());
        fs::create_dir(&path).expect("made");
        let (id, held) = hold(&path).expect("looked at").expect("held");
        assert_eq!(id, fs::metadata(&path).expect("there").ino());
        assert!(hold(&path).expect("looked at").is_none());
        drop(held);
        assert!(hold(&path).expect("looked at").is_some());
    }

    #[test]
    fn a_process_has_a_start_time_as_long_as_it_lives() {
        assert!(start_time(std::process::id()).unwrap().is_some());
        assert_eq!(start_time(u32::MAX).unwrap(), None);
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let pid = Pid::from_raw(child.id().cast_signed());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("ended");
        assert_eq!(start_time(child.id()).unwrap(), None, "not reaped");
        child.wait().expect("reaped");
    }
}
