//! The end of a process of ours: its line is closed, it is killed and waited for, and never without a limit.
//!
//! A kill may be refused (root without CAP_KILL may not signal the proxy, which is another user by then), and a killed
//! process may stay: one that a cgroup freezer holds, or that waits for a device. Neither may hold httpjail past its end.

use std::fs;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::protocol::channel::wait_readable;

/// How long a process may take to go once it was killed. Generous: the jail's first one goes after all the others.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A process of ours that does not end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} (process {pid}) is still there {} s after SIGKILL: {why}", LIMIT.as_secs())]
pub(crate) struct NotEnded {
    who: &'static str,
    pid: Pid,
    why: String,
}

/// Kills a child that has not been waited for, waits until it is gone, and reaps it. `ended` is its pidfd; what it reads
/// orders from should have been closed before, so that it goes even where it cannot be killed.
///
/// # Errors
/// When it stays. Whoever calls goes on without it.
pub(crate) fn kill_and_reap(who: &'static str, pid: Pid, ended: BorrowedFd<'_>) -> Result<(), NotEnded> {
    // Our own child, not yet waited for: the number cannot be anybody else's.
    let killed = kill(pid, Signal::SIGKILL);
    if let Ok(true) = wait_readable(ended, LIMIT) {
        // It is a zombie: there is nothing to wait for.
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

/// What the kernel says that it is doing, where it says so.
fn waits_in(pid: Pid) -> String {
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    match place.trim() {
        "" | "0" => String::new(),
        place => format!(" ({place})"),
    }
}
