//! The cgroup of a jail: made below the cgroup2 mount, killed and removed when the run ends.
//!
//! The programs judge a socket by the cgroup that its maker was in, so nobody in the jail may be able to leave: moving a
//! process needs write permission on a common ancestor, hence the root-owned parent. Names say whose run a cgroup is
//! ([`RunName`]), so that what a killed httpjail left behind can be told from what is in use.

use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the processes of a killed cgroup may take to go.
const KILL_BOUND: Duration = Duration::from_secs(10);
/// The directory of all runs, below the mount.
const PARENT: &str = "httpjail";

/// Why there is no cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
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

/// The cgroup of one run. Dropping it kills everything in it and removes it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: File,
    id: u64,
    removed: bool,
}

impl Cgroup {
    /// Makes a fresh cgroup for a run of this process.
    ///
    /// # Errors
    /// When there is no writable cgroup2 mount, the parent is not root's alone, or this process may not make cgroups.
    pub fn create() -> Result<Self, CgroupError> {
        let parent = parent()?;
        let path = parent.join(RunName::own()?.to_string());
        make_directory(&path)?;
        let opened = File::open(&path).and_then(|directory| Ok((directory.metadata()?.ino(), directory)));
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
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that takes a process in when its number (0 for the writer itself) is written to it. Never let it be open in
    /// a jailed process: the right to write was checked when it was opened.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Kills every process in it, those in cgroups below it too, and waits until they are gone.
    ///
    /// # Errors
    /// When they do not go within ten seconds (a process in an uninterruptible wait).
    pub fn kill(&self) -> Result<(), CgroupError> {
        kill(&self.path)
    }

    /// Kills what is in it and removes it, as dropping it does, and tells if that failed.
    ///
    /// # Errors
    /// As for [`Cgroup::kill`], or when it cannot be removed.
    pub fn remove(mut self) -> Result<(), CgroupError> {
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

/// The name of a run's cgroup: who its supervisor is, so exactly that no other process is ever taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName {
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
    fn own() -> Result<Self, CgroupError> {
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

    /// Reads a name that `Display` wrote; `None` for any other.
    pub fn parse(name: &str) -> Option<Self> {
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

/// A cgroup whose supervisor is dead.
#[derive(Debug)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it was.
    pub name: RunName,
}

impl Leftover {
    /// Kills what still lives in it and removes it.
    ///
    /// # Errors
    /// As for [`Cgroup::kill`], or when it cannot be removed.
    pub fn remove(self) -> Result<(), CgroupError> {
        remove(&self.path)
    }
}

/// The cgroups of dead runs. Those of another PID namespace are left alone: from here one cannot tell whether they live.
///
/// # Errors
/// When the tree cannot be read. No error where httpjail never ran.
pub fn leftovers() -> Result<Vec<Leftover>, CgroupError> {
    let parent = mount_point()?.join(PARENT);
    let own_namespace = own_pid_namespace()?;
    let entries = match fs::read_dir(&parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(CgroupError::Io {
                operation: "read",
                path: parent,
                source,
            });
        }
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().and_then(RunName::parse) else {
            continue;
        };
        let path = entry.path();
        let started = start_time(name.pid).map_err(|source| CgroupError::Io {
            operation: "look for the supervisor of",
            path: path.clone(),
            source,
        })?;
        if name.pid_namespace == own_namespace && started != Some(name.started) {
            found.push(Leftover { path, name });
        }
    }
    Ok(found)
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or on hybrid hosts a directory below it.
///
/// # Errors
/// When it is not mounted, or only read-only.
pub fn mount_point() -> Result<PathBuf, CgroupError> {
    let path = "/proc/self/mountinfo";
    let table = fs::read_to_string(path).map_err(|source| CgroupError::Io {
        operation: "read",
        path: path.into(),
        source,
    })?;
    find_mount(&table)
}

fn find_mount(mountinfo: &str) -> Result<PathBuf, CgroupError> {
    let mut read_only = None;
    for line in mountinfo.lines() {
        // proc_pid_mountinfo(5): id parent major:minor root mount-point options [tags] - type source super-options
        let Some((mount, file_system)) = line.split_once(" - ") else {
            continue;
        };
        let fields: Vec<&str> = mount.split(' ').collect();
        let [_, _, _, root, point, options, ..] = fields[..] else {
            continue;
        };
        let mut file_system = file_system.split(' ');
        // A mount of a part of the tree may leave out the ancestors whose owner matters.
        if file_system.next() != Some("cgroup2") || root != "/" {
            continue;
        }
        let point = PathBuf::from(unescape(point));
        let super_options = file_system.nth(1).unwrap_or_default();
        if options
            .split(',')
            .chain(super_options.split(','))
            .any(|option| option == "ro")
        {
            read_only.get_or_insert(point);
        } else {
            return Ok(point);
        }
    }
    Err(read_only.map_or(CgroupError::NotMounted, CgroupError::ReadOnly))
}

/// Undoes the kernel's `\040` for a space and the like.
fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\')
            .then(|| {
                tail.get(..3)
                    .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok())
            })
            .flatten();
        (rest, _) = match code {
            Some(code) => (&tail[3..], out.push(code)),
            None => (tail, out.push(byte)),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn parent() -> Result<PathBuf, CgroupError> {
    let mount = mount_point()?;
    check_owner(&mount)?;
    let parent = mount.join(PARENT);
    match make_directory(&parent) {
        Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    check_owner(&parent)?;
    Ok(parent)
}

fn check_owner(path: &Path) -> Result<(), CgroupError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| CgroupError::Io {
        operation: "look at",
        path: path.to_owned(),
        source,
    })?;
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 || mode & 0o022 != 0 || !metadata.is_dir() {
        return Err(CgroupError::Unsafe {
            path: path.to_owned(),
            uid,
            mode,
        });
    }
    Ok(())
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
    kill(path)?;
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

fn kill(path: &Path) -> Result<(), CgroupError> {
    let io = |operation, file: &Path| {
        let file = file.to_owned();
        move |source| CgroupError::Io {
            operation,
            path: file,
            source,
        }
    };
    let file = path.join("cgroup.kill");
    fs::write(&file, "1").map_err(io("write", &file))?;

    let file = path.join("cgroup.events");
    let events = File::open(&file).map_err(io("open", &file))?;
    let deadline = Instant::now() + KILL_BOUND;
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

fn own_pid_namespace() -> Result<u64, CgroupError> {
    let path = Path::new("/proc/self/ns/pid");
    let io = |source| CgroupError::Io {
        operation: "look at",
        path: path.to_owned(),
        source,
    };
    fs::metadata(path).map(|metadata| metadata.ino()).map_err(io)
}

/// When a process started; `None` if there is no such process.
fn start_time(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // ESRCH: it ended between open and read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // The name in parentheses may hold anything, spaces and parentheses too; after the last one come fields 3 and on.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok());
    started
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc/PID/stat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_wherever_it_is() {
        let check = |table: &str, expected: Result<&str, &str>| match (find_mount(table), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, Path::new(expected)),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
            (found, _) => panic!("{table}: {found:?}"),
        };
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
        check(
            "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
            Ok("/sys/fs/cgroup"),
        );
        check(
            &format!("{v1}41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"),
            Ok("/sys/fs/cgroup/unified"),
        );
        check("41 31 0:38 / /a\\040b rw - cgroup2 none rw", Ok("/a b"));
        check(v1, Err("no cgroup2"));
        check(
            "41 31 0:38 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw",
            Err("read-only"),
        );
        check("41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 ro", Err("read-only"));
        check(
            "41 31 0:38 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            Err("no cgroup2"),
        );
        check(
            "41 31 0:38 / /ro ro - cgroup2 c rw\n42 31 0:38 / /rw rw - cgroup2 c rw",
            Ok("/rw"),
        );
    }

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
    fn a_process_has_a_start_time_as_long_as_it_lives() {
        assert!(start_time(std::process::id()).unwrap().is_some());
        assert_eq!(start_time(u32::MAX).unwrap(), None);
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let set =
            |mode| fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        set(0o755);
        let owned_by_root = fs::metadata(directory.path()).unwrap().uid() == 0;
        assert_eq!(check_owner(directory.path()).is_ok(), owned_by_root);
        for mode in [0o775, 0o757, 0o777] {
            set(mode);
            assert!(check_owner(directory.path()).is_err(), "{mode:o}");
        }
    }
}
