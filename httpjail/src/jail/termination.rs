//! Ends a child process: kills it, waits for it, and never without a limit.
//!
//! A kill may be refused (root without CAP_KILL may not signal the proxy, which is another user by then), and a killed
//! process may stay: a cgroup freezer holds it, or it waits for a device. Neither may keep httpjail from ending.

use std::fs;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::protocol::channel::wait_readable;

/// How long a killed process may take to end. Generous: the jail's init ends after all its other processes.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A child process that does not end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} (process {pid}) is still there {} s after SIGKILL: {why}", LIMIT.as_secs())]
pub(crate) struct NotEnded {
    who: &'static str,
    pid: Pid,
    why: String,
}

/// Kills a child that has not been reaped, waits until it is gone, and reaps it. `ended` is its pidfd. Close its channel
/// first, so that it ends even if it cannot be killed.
///
/// # Errors
/// When it stays. The caller continues without it.
pub(crate) fn kill_and_reap(who: &'static str, pid: Pid, ended: BorrowedFd<'_>) -> Result<(), NotEnded> {
    // A child that has not been reaped: no other process can have its id.
    let killed = kill(pid, Signal::SIGKILL);
    if let Ok(true) = wait_readable(ended, LIMIT) {
        // It is a zombie, so this does not wait.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        return Ok(());
    }
    let why = match killed {
        Err(Errno::EPERM) => "httpjail lacks CAP_KILL".to_owned(),
        _ => format!(
            "it or one of its children is frozen or waits for a device{}",
            waits_in(pid)
        ),
    };
    Err(NotEnded { who, pid, why })
}

/// Returns the kernel function in which the process waits, if the kernel shows it.
fn waits_in(pid: Pid) -> String {
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    match place.trim() {
        "" | "0" => String::new(),
        place => format!(" ({place})"),
    }
}
