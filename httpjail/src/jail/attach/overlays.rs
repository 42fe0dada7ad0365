//! Lays files over those of running processes: read-only mounts in the mount namespaces of the cgroup's processes, and nowhere
//! else.
//!
//! A mount can be made in one namespace and moved to another (`open_tree(2)`, `move_mount(2)`, Linux 5.2). So a child process
//! makes the mounts of empty files on the host, enters the other namespace, looks at what there is, fills the files, and moves
//! each mount to its place. Nothing in the container's file system changes, and it may be read-only. The host's files are
//! removed then: the mounts keep them. Their name is in the table of mounts, and by that they are found again, also after a `kill -9`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::target::{Target, processes};
use crate::jail::protocol::channel::wait_readable;
use crate::jail::sandbox::mountinfo::{self, Mount};
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};
use crate::jail::steering::cgroup::RunName;
use crate::jail::termination;
use crate::sys::clone::{self, Side};
use crate::sys::mounts;

/// How long a look into another mount namespace may take: a process there may serve its file system.
const LIMIT: Duration = Duration::from_secs(10);
/// How many files may be covered by each of those laid over.
const MOST: usize = 24;
const PREFIX: &str = "trust-";
/// In how many mount namespaces.
const MOST_NAMESPACES: usize = 16;

/// A file that is laid over others.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// What is in it.
    pub content: Vec<u8>,
    /// What it is laid over, without links.
    pub covers: Vec<PathBuf>,
}

/// What was done in a mount namespace.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Laid {
    /// The files that are covered now.
    pub covered: Vec<PathBuf>,
    /// What could not be covered, and why.
    pub missing: Vec<String>,
}

/// Lays over the files of the cgroup's processes what `look` returns, which runs in their mount namespace. Returns what was done
/// in each but httpjail's own and the host's.
///
/// # Errors
/// When nothing can be laid in one of them.
pub(super) fn lay(target: &Target, name: &RunName, look: &dyn Fn() -> [Overlay; 2]) -> io::Result<Vec<Laid>> {
    let host = peer_groups("self")
        .into_iter()
        .chain(peer_groups("1"))
        .collect::<Vec<_>>();
    let inside = namespaces(target.path())?;
    inside
        .values()
        .map(|pid| lay_in(*pid, &marker(target.id(), name), &host, look))
        .collect()
}

/// Takes away what attachments to the cgroup have laid over files of its processes.
///
/// # Errors
/// Naming what stays.
pub(super) fn lift(cgroup: &Path, id: u64) -> io::Result<()> {
    for pid in namespaces(cgroup)?.values() {
        let text = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let all = mountinfo::parse(&text);
        let ours: Vec<&Mount> = all.iter().filter(|mount| is_ours(mount, id)).collect();
        if ours.is_empty() {
            continue;
        }
        let left = within(*pid, || {
            let failed = ours.iter().rev().filter_map(|mount| {
                let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
                let lifted = umount2(&mount.target, flags);
                lifted.err().map(|error| format!("{}: {error}", mount.target.display()))
            });
            Ok(failed.collect::<Vec<String>>())
        })?;
        if !left.is_empty() {
            return Err(io::Error::other(left.join(", ")));
        }
    }
    Ok(())
}

/// A process in each mount namespace of the cgroup's processes, by its number. The host's is left as it is.
fn namespaces(cgroup: &Path) -> io::Result<BTreeMap<u64, Pid>> {
    let number = |pid: &str| {
        fs::metadata(format!("/proc/{pid}/ns/mnt"))
            .ok()
            .map(|found| found.ino())
    };
    let hosts = [number("self"), number("1")];
    let mut found = BTreeMap::new();
    for pid in processes(cgroup)?.into_iter().filter(|pid| !is_being_started(*pid)) {
        let number = number(&pid.to_string()).filter(|number| !hosts.contains(&Some(*number)));
        if let Some(number) = number.filter(|_| found.len() < MOST_NAMESPACES) {
            found.entry(number).or_insert(pid);
        }
    }
    Ok(found)
}

/// Whether it is an OCI runtime's process, which executes the container's program when its hooks are done. It has not taken the
/// container's root yet, and who runs the hooks has laid what the container is to see (`httpjail-runc`).
fn is_being_started(pid: Pid) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.starts_with("runc:[") || ["crun", "youki"].contains(&name.trim_end())
}

fn lay_in(pid: Pid, name: &str, host: &[u64], look: &dyn Fn() -> [Overlay; 2]) -> io::Result<Laid> {
    make_run_dir()?;
    let directory = Path::new(RUN_DIR).join(name);
    DirBuilder::new().mode(0o755).create(&directory)?;
    let laid = (0..2)
        .map(|number| Blank::make(&directory.join(number.to_string())))
        .collect::<io::Result<Vec<_>>>()
        .and_then(|blanks| {
            // Read from here: over there /proc does not know a process of the host.
            let table = mountinfo::parse(&fs::read_to_string(format!("/proc/{pid}/mountinfo"))?);
            within(pid, || lay_here(blanks, &table, host, look))
        });
    // The files live on in the mounts. Before these are in their places the kernel wants the names.
    fs::remove_dir_all(&directory)?;
    laid
}

/// Removes the directories that dead runs have left.
pub(crate) fn forget_dead() {
    for entry in fs::read_dir(RUN_DIR).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let run = run.and_then(|(_, run)| RunName::parse(run));
        if run.is_some_and(|run| run.may_live().is_ok_and(|lives| !lives)) {
            // The next run tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// An empty file, and mounts of it that are nowhere yet.
struct Blank {
    file: File,
    mounts: Vec<OwnedFd>,
}

impl Blank {
    fn make(path: &Path) -> io::Result<Blank> {
        let file = File::options().write(true).create_new(true).open(path)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
        let mounts = (0..MOST).map(|_| mounts::unattached(path)).collect::<io::Result<_>>()?;
        Ok(Blank { file, mounts })
    }
}

/// In the other namespace, whose processes may have made what is found there.
fn lay_here(blanks: Vec<Blank>, table: &[Mount], host: &[u64], look: &dyn Fn() -> [Overlay; 2]) -> io::Result<Laid> {
    let mut laid = Laid::default();
    for (mut blank, overlay) in blanks.into_iter().zip(look()) {
        blank.file.write_all(&overlay.content)?;
        for (covered, mount) in overlay.covers.into_iter().zip(blank.mounts) {
            let group = mountinfo::of(table, &covered).and_then(|mount| mount.peer_group);
            let moved = if group.is_some_and(|group| host.contains(&group)) {
                Err(io::Error::other("what is mounted there would show on the host, too"))
            } else {
                mounts::put(mount.as_fd(), &covered)
            };
            match moved {
                Ok(()) => laid.covered.push(covered),
                Err(error) => laid.missing.push(format!("{}: {error}", covered.display())),
            }
        }
    }
    Ok(laid)
}

/// Runs `inside` in a child process in the mount namespace of `pid`, and returns what came of it.
fn within<T: Serialize + DeserializeOwned>(pid: Pid, inside: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let (mut told, mut tell) = io::pipe()?;
    match clone::fork()? {
        Side::Parent(child) => {
            drop(tell);
            let ended = clone::pidfd(child)?;
            // What is told is short enough for a pipe, so the child waits for nobody to read it.
            let in_time = wait_readable(ended.as_fd(), LIMIT);
            termination::kill_and_reap("who looks into a mount namespace", child, ended.as_fd())
                .map_err(io::Error::other)?;
            if !in_time? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut bytes = Vec::new();
            told.read_to_end(&mut bytes)?;
            let said: Result<T, String> = serde_json::from_slice(&bytes)?;
            said.map_err(io::Error::other)
        }
        Side::Child => clone::live(|| {
            let settled = prctl::set_pdeathsig(Signal::SIGKILL)
                .and_then(|()| prctl::set_dumpable(false))
                .and_then(|()| setns(&namespace, CloneFlags::CLONE_NEWNS));
            let done = settled.map_err(io::Error::from).and_then(|()| inside());
            let said = serde_json::to_vec(&done.map_err(|error| error.to_string())).map_err(io::Error::other);
            i32::from(said.and_then(|said| tell.write_all(&said)).is_err())
        }),
    }
}

/// The peer groups of a process's mounts: what is mounted on one of those appears on all of the group.
fn peer_groups(pid: &str) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    mountinfo::parse(&text)
        .into_iter()
        .filter_map(|mount| mount.peer_group)
        .collect()
}

/// The name under which the files were made: with the id of the cgroup, and the run.
fn marker(id: u64, name: &RunName) -> String {
    format!("{}{name}", prefix(id))
}

fn prefix(id: u64) -> String {
    format!("{PREFIX}{id}-")
}

fn is_ours(mount: &Mount, id: u64) -> bool {
    let mut parts = mount
        .root
        .components()
        .rev()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    // `/httpjail/trust-ID-run-.../0//deleted`: what was removed on the host has that behind its name.
    parts.any(|part| part.starts_with(&prefix(id)))
}
