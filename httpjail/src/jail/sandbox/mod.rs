//! The jail that both strong backends share: namespaces, mounts, masked sockets, rights, system calls, and its init.

pub mod filter;
pub mod init;
mod mountinfo;
pub mod mounts;
pub mod netns;
pub mod rights;
pub mod sockets;
pub mod stdio;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::channel::{self, Channel};
use crate::sys::clone::{self, Side};
use crate::sys::fds;

use init::{Order, Plan, Report};

/// The namespaces and the init of one jail. Dropped, it kills everything inside.
#[derive(Debug)]
pub struct Sandbox {
    /// Init's process id outside.
    pub pid: Pid,
    /// Readable when init has ended, and with it everything in its PID namespace.
    pub ended: OwnedFd,
    /// Init's line.
    pub line: Channel<Order, Report>,
    /// Whether it has a user namespace of its own.
    pub user_namespace: bool,
}

impl Sandbox {
    /// Clones init into new namespaces and, if given, into a cgroup. It waits for orders.
    ///
    /// A user namespace with the full map keeps every owner right, and takes from a jailed root what only the first user
    /// namespace can give. Where the host forbids one, root does without.
    ///
    /// # Errors
    /// Those of `clone3(2)` and of writing the map.
    pub fn build(plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        match Self::clone(plan, cgroup, true) {
            Ok(sandbox) => Ok(sandbox),
            Err(refused) => Self::clone(plan, cgroup, false)
                .map_err(|error| io::Error::other(format!("{error} (with a user namespace: {refused})"))),
        }
    }

    fn clone(plan: &Plan, cgroup: Option<BorrowedFd<'_>>, user_namespace: bool) -> io::Result<Self> {
        let mut flags =
            CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
        flags.set(CloneFlags::CLONE_NEWUSER, user_namespace);
        let (ours, theirs) = channel::pair()?;
        match clone::clone(flags, cgroup)? {
            Side::Child => {
                let keep: Vec<RawFd> = plan.command.pipes.iter().copied().chain([theirs.as_raw_fd()]).collect();
                if fds::close_from(3, &keep).is_err() {
                    clone::exit_now(125);
                }
                init::live(&theirs, plan)
            }
            Side::Parent(pid) => {
                let sandbox = Sandbox {
                    pid,
                    ended: clone::pidfd(pid)?,
                    line: ours,
                    user_namespace,
                };
                drop(theirs);
                if user_namespace {
                    fs::write(format!("/proc/{pid}/uid_map"), FULL_MAP)?;
                    fs::write(format!("/proc/{pid}/gid_map"), FULL_MAP)?;
                }
                Ok(sandbox)
            }
        }
    }

    /// Kills init, and so everything in its PID namespace, and waits until it is gone. Does nothing the second time.
    pub fn kill(&mut self) {
        if self.pid.as_raw() > 0 {
            // Our own child, not yet waited for: the number cannot be anybody else's.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
            self.pid = Pid::from_raw(0);
        }
    }
}

/// Every id but the last, which means "none" (`user_namespaces(7)`).
const FULL_MAP: &str = "0 0 4294967295";

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}
