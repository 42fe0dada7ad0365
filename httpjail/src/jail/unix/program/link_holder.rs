//! Keeps the programs attached until the last process of the jail is gone, even if the supervisor is killed.
//!
//! A link ends when its last descriptor is closed. The descriptors of a killed supervisor are closed before the kernel
//! has ended the jail. So another process has them too: a child of the supervisor, outside the jail, that ends after
//! the jail's init. The kernel releases init after all other processes of its PID namespace (`kernel/pid_namespace.c`,
//! `zap_pid_ns_processes`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{Pid, setsid};

use crate::jail::termination;
use crate::sys::clone::{self, Side};
use crate::sys::fds;

/// The process. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Holder {
    pid: Pid,
    ended: OwnedFd,
}

impl Holder {
    /// Starts it: it has the `links` open until `jail` has ended.
    ///
    /// # Errors
    /// Those of the fork.
    pub(super) fn start(links: &[OwnedFd], jail: BorrowedFd<'_>) -> io::Result<Self> {
        match clone::fork()? {
            Side::Parent(pid) => Ok(Holder {
                pid,
                ended: clone::pidfd(pid)?,
            }),
            Side::Child => clone::live(|| i32::from(live(links, jail).is_err())),
        }
    }
}

fn live(links: &[OwnedFd], jail: BorrowedFd<'_>) -> io::Result<()> {
    // No signal that is meant for httpjail's group, or sent from its terminal, comes here.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    setsid()?;
    let open: Vec<RawFd> = links.iter().map(AsRawFd::as_raw_fd).chain([jail.as_raw_fd()]).collect();
    fds::close_from(0, &open)?;
    loop {
        match poll(&mut [PollFd::new(jail, PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            ended => return Ok(ended.map(drop)?),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Err(error) = termination::kill_and_reap(
            "the process that holds the jail's programs",
            self.pid,
            self.ended.as_fd(),
        ) {
            tracing::warn!("{error}");
        }
    }
}
