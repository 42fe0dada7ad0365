//! The cgroup to attach to: finds it, lists its processes, and checks that they cannot leave it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::lock;
use crate::failure::Failure;
use crate::jail::process_info::lookup;
use crate::jail::sandbox::network;
use crate::jail::steering::cgroup;

/// An existing cgroup. The directory is held open, so that its id is not given to another cgroup.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    directory: File,
    id: u64,
}

impl Target {
    /// Finds the cgroup that `path` names, a path of the file system or one within the cgroup tree.
    ///
    /// # Errors
    /// When it is not a cgroup, is the root cgroup, belongs to a jail, or when another user than root could move processes
    /// out of it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let path = find(path)?;
        let mount = mount_point()?;
        let within = path.strip_prefix(&mount).unwrap_or(Path::new(""));
        if within.as_os_str().is_empty() {
            return Err(Failure {
                hint: Some("name a cgroup below it".into()),
                ..Failure::new(format!(
                    "{} is the root cgroup: it contains the whole system, httpjail too",
                    path.display()
                ))
            });
        }
        if within.starts_with("httpjail") {
            return Err(Failure::new(format!("{} belongs to a jail", path.display())));
        }
        let ancestors = path.ancestors().skip(1).take_while(|above| above.starts_with(&mount));
        for above in ancestors {
            check_owner(above)?;
        }
        let opened = File::open(&path).and_then(|directory| Ok((directory.metadata()?.ino(), directory)));
        let (id, directory) =
            opened.map_err(|error| Failure::new(format!("cannot open the cgroup {}: {error}", path.display())))?;
        Ok(Target { path, directory, id })
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its id.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns true if it has been removed. A new one at the same path is another cgroup.
    pub(crate) fn is_gone(&self) -> bool {
        !is_at(&self.path, self.id)
    }

    /// Returns the processes in it and below it.
    ///
    /// # Errors
    /// Those of reading the cgroup tree.
    pub(crate) fn processes(&self) -> io::Result<Vec<Pid>> {
        processes(&self.path)
    }

    /// Returns its id and those of the cgroups below it.
    ///
    /// # Errors
    /// Those of reading the cgroup tree.
    pub(crate) fn ids(&self) -> io::Result<BTreeSet<u64>> {
        let directories = tree(&self.path)?;
        Ok(directories
            .iter()
            .filter_map(|directory| fs::metadata(directory).ok())
            .map(|directory| directory.ino())
            .collect())
    }

    /// Returns a process in the network namespace that the cgroup's processes share, or `None` if that is httpjail's own.
    ///
    /// # Errors
    /// When they do not share one.
    pub(crate) fn network(&self) -> Result<Option<Pid>, Failure> {
        let unreadable = |error| Failure::new(format!("cannot list the processes in {}: {error}", self.path.display()));
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let mut found: Vec<(PathBuf, Pid)> = Vec::new();
        for pid in self.processes().map_err(unreadable)? {
            // A process that has ended meanwhile has no namespace.
            if let Some(namespace) = namespace(&pid.to_string())
                && found.iter().all(|(known, _)| *known != namespace)
            {
                found.push((namespace, pid));
            }
        }
        match found.as_slice() {
            [] => Ok(None),
            [(only, pid)] => Ok((namespace("self").as_ref() != Some(only)).then_some(*pid)),
            several => Err(Failure {
                hint: Some("attach to cgroups further down, one for each network namespace".into()),
                ..Failure::new(format!(
                    "the processes in {} are in {} network namespaces (those of the processes {})",
                    self.path.display(),
                    several.len(),
                    several
                        .iter()
                        .map(|(_, pid)| pid.to_string())
                        .collect::<Vec<_>>()
                        .join(", ")
                ))
            }),
        }
    }

    /// Returns the ancestors of a process of the cgroup, up to the first that is not in the cgroup.
    pub(super) fn ancestors(&self, pid: u32) -> Option<Vec<u32>> {
        let processes = self.processes().ok()?;
        let is_inside = |pid: &u32| processes.contains(&Pid::from_raw(pid.cast_signed()));
        let above = std::iter::successors(lookup::parent(pid), |pid| lookup::parent(*pid));
        is_inside(&pid).then(|| above.take_while(is_inside).collect())
    }

    /// Locks the cgroup against other httpjails that attach to it or detach from it. `tell` is called if it must wait.
    ///
    /// # Errors
    /// When another process holds the lock for too long.
    pub(super) fn lock(&self, tell: &dyn Fn(&str)) -> Result<File, Failure> {
        let opened = File::open(&self.path)
            .map_err(|error| Failure::new(format!("cannot open the cgroup {}: {error}", self.path.display())))?;
        lock::hold(opened, &self.path, tell)
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Returns true if the cgroup with this id is at this path.
pub(crate) fn is_at(path: &Path, id: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.ino() == id)
}

/// Runs `inside` in the network namespace of that process, or in httpjail's own.
pub(super) fn within<T>(network: Option<Pid>, inside: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match network {
        Some(pid) => network::within(pid, inside),
        None => inside(),
    }
}

/// Returns the full path of a cgroup, given by its path in the file system or as `/proc/PID/cgroup` shows it.
///
/// # Errors
/// When there is none.
pub(crate) fn find(path: &Path) -> Result<PathBuf, Failure> {
    let mount = mount_point()?;
    let within = mount.join(path.strip_prefix("/").unwrap_or(path));
    [path, &within]
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .find(|path| path.starts_with(&mount) && path.is_dir())
        .ok_or_else(|| Failure {
            hint: Some(format!("cgroup v2 is mounted at {}", mount.display())),
            ..Failure::new(format!("no such cgroup: {}", path.display()))
        })
}

pub(super) fn mount_point() -> Result<PathBuf, Failure> {
    cgroup::mount_point().map_err(|error| Failure::new(error.to_string()))
}

/// Returns the processes in the cgroup at `path` and below it.
///
/// # Errors
/// Those of reading the cgroup tree.
pub(crate) fn processes(path: &Path) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for directory in tree(path)? {
        match fs::read_to_string(directory.join("cgroup.procs")) {
            Ok(text) => found.extend(text.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw)),
            // A threaded cgroup, whose processes are listed above it; or one that has gone.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::ENODEV | libc::ENOENT)
                ) => {}
            Err(error) => return Err(error),
        }
    }
    // A process of another PID namespace is listed as 0.
    found.retain(|pid| pid.as_raw() > 0);
    Ok(found)
}

/// Parents before children.
fn tree(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if next > 1 && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let below = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.extend(below.map(|entry| entry.path()));
    }
    Ok(directories)
}

/// What to say when the cgroup cannot be read.
pub(super) fn unreadable(target: &Target, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read the cgroup {}: {error}", target.path().display()))
}

/// A user who may write to the `cgroup.procs` files of two cgroups and of their nearest common ancestor may move a process
/// from one to the other (Documentation/admin-guide/cgroup-v2.rst, "Delegation containment").
fn check_owner(above: &Path) -> Result<(), Failure> {
    for name in ["", "cgroup.procs", "cgroup.threads"] {
        let file = if name.is_empty() {
            above.to_owned()
        } else {
            above.join(name)
        };
        let found = match fs::symlink_metadata(&file) {
            Ok(found) => found,
            // The root has no such file of its own in some trees.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failure::new(format!("cannot look at {}: {error}", file.display()))),
        };
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            return Err(Failure {
                hint: Some("attach to a cgroup further up, whose parent is root's".into()),
                ..Failure::new(format!(
                    "{} can be written by uid {}, whose processes could leave the cgroup",
                    file.display(),
                    found.uid()
                ))
            });
        }
    }
    Ok(())
}
