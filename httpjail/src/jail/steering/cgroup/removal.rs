//! Removes a cgroup: kills its processes, waits for them, and removes its directories.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::error::{CgroupError, KILL_BOUND};

pub(super) fn remove(path: &Path) -> Result<(), CgroupError> {
    kill(path, Instant::now() + KILL_BOUND)?;
    remove_tree(path)
}

/// A jailed process with its own cgroup namespace may have made cgroups below its own.
pub(super) fn remove_tree(path: &Path) -> Result<(), CgroupError> {
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

/// Kills what is in it, and waits until that is gone: until `deadline`.
pub(super) fn kill(path: &Path, deadline: Instant) -> Result<(), CgroupError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_kills_his_own_process_group() {
        let found: Vec<i32> = pids("12\n0\n-1\nx\n7\n").map(Pid::as_raw).collect();
        assert_eq!(found, [12, 7]);
    }
}
