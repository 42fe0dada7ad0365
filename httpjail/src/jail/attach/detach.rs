//! Ends attachments from another process: asks a running httpjail to end, and removes the pins of one that is dead.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::again::Waiting;
use super::lock::lock_pins;
use super::overlays;
use super::pins::Pins;
use super::self_test;
use crate::failure::Failure;
use crate::jail::protocol::channel::wait_readable;
use crate::jail::steering::cgroup::RunName;
use crate::sys::clone;

/// How long an httpjail may take to end when it is asked to.
const LIMIT: Duration = Duration::from_secs(10);

/// Ends the attachments to a cgroup, or all attachments, whichever run made them. Returns the cgroups.
///
/// # Errors
/// Naming what stays.
pub(crate) fn detach(cgroup: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let meant = || {
        Pins::all()
            .into_iter()
            .filter(|pins| cgroup.is_none_or(|path| pins.cgroup == path))
    };
    let mut found: Vec<_> = meant().map(|pins| pins.cgroup).collect();
    for pins in meant() {
        if lives(&pins)? {
            end_run(&pins.name)?;
        }
    }
    found.extend(stop_waiting(|waiting, _| cgroup.is_none_or(|path| waiting == path))?);
    // The pins that are left belong to dead runs.
    let _lock = lock_pins(&|_| {})?;
    for pins in meant() {
        remove(&pins)?;
    }
    Ok(found)
}

/// Ends who waits for a cgroup, by its path and by what the user named it. Returns the paths.
///
/// # Errors
/// When one does not end.
pub(crate) fn stop_waiting(is_meant: impl Fn(&Path, &str) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let mut ended = Vec::new();
    for waiting in Waiting::all()
        .into_iter()
        .filter(|waiting| is_meant(&waiting.path, &waiting.named))
    {
        if waiting
            .run
            .may_live()
            .map_err(|error| Failure::new(error.to_string()))?
        {
            end_run(&waiting.run)?;
            ended.push(waiting.path.clone());
        }
        waiting.forget();
    }
    Ok(ended)
}

/// Takes away what an attachment has laid over files, opens its network, and removes its pins and the cgroup of its self-test.
pub(super) fn remove(pins: &Pins) -> Result<(), Failure> {
    self_test::remove_test_cgroup(&pins.cgroup, &pins.name);
    if !pins.is_stale() {
        // Better open with them than closed for good.
        if let Err(error) = overlays::lift(&pins.cgroup, pins.id) {
            tracing::warn!("files of processes in {} stay covered: {error}", pins.cgroup.display());
        }
    }
    pins.remove().map_err(|error| stays(pins, &error))
}

/// Removes what is left of a dead attachment, in whose place a newer one with this network holds the cgroup.
pub(super) fn replace(pins: &Pins, network: Option<u64>) -> Result<(), Failure> {
    if pins.network != network {
        return remove(pins);
    }
    self_test::remove_test_cgroup(&pins.cgroup, &pins.name);
    pins.forget().map_err(|error| stays(pins, &error))
}

fn stays(pins: &Pins, error: &io::Error) -> Failure {
    Failure::new(format!("cannot detach from {}: {error}", pins.cgroup.display()))
}

/// Returns true if an httpjail is running that is attached to the cgroup of this id.
///
/// # Errors
/// When that cannot be told, in words.
pub(crate) fn is_attended(id: u64) -> Result<bool, String> {
    let mut of_cgroup = Pins::all().into_iter().filter(|pins| pins.id == id);
    of_cgroup.try_fold(false, |attended, pins| {
        Ok(attended || lives(&pins).map_err(|failure| failure.to_string())?)
    })
}

/// Returns true if the httpjail of an attachment is running.
pub(super) fn lives(pins: &Pins) -> Result<bool, Failure> {
    pins.name.may_live().map_err(|error| Failure::new(error.to_string()))
}

/// Returns true if a process is stopped or traced: the third field of its stat (proc(5)), after a name that may contain
/// any character.
fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}

fn end_run(name: &RunName) -> Result<(), Failure> {
    end(name).map_err(|error| {
        let pid = name.pid;
        let stopped = is_stopped(pid).then(|| format!("it is stopped: kill -CONT {pid}, and detach again"));
        let killed = || format!("kill -KILL {pid} leaves the cgroup closed; detach opens it then");
        Failure {
            hint: Some(stopped.unwrap_or_else(killed)),
            ..Failure::new(format!(
                "cannot end the httpjail that is attached (process {pid}): {error}"
            ))
        }
    })
}

/// Asks the httpjail of that name to end, and waits for it.
fn end(name: &RunName) -> io::Result<()> {
    let process = match clone::pidfd(Pid::from_raw(name.pid.cast_signed())) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        Err(error) => return Err(error),
    };
    // The pidfd is open: if the name still fits, the pidfd is that process's.
    if !name.may_live().map_err(io::Error::other)? {
        return Ok(());
    }
    match clone::signal(process.as_fd(), Signal::SIGTERM) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        sent => sent?,
    }
    if wait_readable(process.as_fd(), LIMIT)? {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::TimedOut, "timed out"))
    }
}
