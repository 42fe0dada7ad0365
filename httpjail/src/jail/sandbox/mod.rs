//! The jail that both strong backends share: namespaces, mounts, masked sockets, rights, system calls, and its init.

pub mod additions;
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
    /// A user namespace that maps every id to itself keeps every owner right, and takes from a jailed root what only the first user
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
            Side::Child => clone::live(|| {
                let keep: Vec<RawFd> = plan.command.pipes.iter().copied().chain([theirs.as_raw_fd()]).collect();
                match fds::close_from(3, &keep) {
                    Ok(()) => init::live(&theirs, plan),
                    Err(_) => 125,
                }
            }),
            Side::Parent(pid) => {
                let sandbox = Sandbox {
                    pid,
                    ended: clone::pidfd(pid)?,
                    line: ours,
                    user_namespace,
                };
                drop(theirs);
                if user_namespace {
                    for map in ["uid_map", "gid_map"] {
                        let own = fs::read_to_string(format!("/proc/self/{map}"))?;
                        fs::write(format!("/proc/{pid}/{map}"), identity_map(&own))?;
                    }
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

/// Every id that this process knows, as itself: from lines of `first, first outside, count` (`user_namespaces(7)`). On a
/// host that is one line, all ids but the last; in a container it may be several.
fn identity_map(own: &str) -> String {
    let ranges = own.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace();
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(format!("{first} {first} {count}\n"))
    });
    ranges.collect()
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::identity_map;

    #[test]
    fn every_known_id_is_mapped_to_itself() {
        assert_eq!(identity_map("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(
            identity_map("0 100000 65536\n65536 1000 1\n"),
            "0 0 65536\n65536 65536 1\n"
        );
    }
}
