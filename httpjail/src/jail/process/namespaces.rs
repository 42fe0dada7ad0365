//! Makes the namespaces of a jail by cloning its init into them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid};

use crate::failure::Failure;
use crate::jail::protocol::channel::{self, IpcChannel};
use crate::jail::protocol::init::{InitReply, InitRequest, Notify};
use crate::jail::sandbox::rights;
use crate::jail::termination::{self, NotEnded};
use crate::sys::clone::{self, Side};
use crate::sys::fds;

use super::init::{self, Plan};

/// How long init may take for one request. Generous: a run must not fail on a loaded machine.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(20);

/// The namespaces and the init of one jail. Dropping it kills everything inside.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Init's process id in the supervisor's PID namespace.
    pub pid: Pid,
    /// Init's pidfd: readable when init has ended, and with it everything in its PID namespace.
    pub ended: OwnedFd,
    /// The supervisor's end of init's channel.
    pub channel: IpcChannel<InitRequest, InitReply>,
    /// Whether it has a user namespace of its own.
    pub user_namespace: bool,
    /// What this jail cannot hold, for the user.
    pub note: Option<String>,
    /// Whether its user namespace has other users than the caller.
    users: bool,
}

impl Sandbox {
    /// Clones init into new namespaces and, if given, into a cgroup. Unless `needs_cgroup`, it also tries without the
    /// cgroup. Init waits for requests.
    ///
    /// A user namespace that maps every id to itself keeps every owner right, and takes from a jailed root what only the first user
    /// namespace can give. Where the host forbids one, root does without. Who is not root has to have one, in which there
    /// is nobody but himself.
    ///
    /// # Errors
    /// Those of `clone3(2)` and of writing the map.
    pub(crate) fn build(plan: &mut Plan, cgroup: Option<BorrowedFd<'_>>, needs_cgroup: bool) -> io::Result<Self> {
        match Self::build_in(plan, cgroup) {
            // Its rights end above (a threaded part of the tree, a root whose files are another's), or a container's filter
            // knows no clone3(2).
            Err(error) if cgroup.is_some() && !needs_cgroup => {
                let mut sandbox = Self::build_in(plan, None)?;
                let note = format!("the jail has no cgroup of its own, so it may write what its caller may: {error}");
                sandbox.note = Some(note);
                Ok(sandbox)
            }
            built => built,
        }
    }

    fn build_in(plan: &mut Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        if !rights::may_change_user() {
            return Self::clone(plan, cgroup, Ids::Own);
        }
        match Self::clone(plan, cgroup, Ids::All) {
            Ok(sandbox) => Ok(sandbox),
            Err(refused) => Self::clone(plan, cgroup, Ids::Host)
                .map_err(|error| io::Error::other(format!("{error} (with a user namespace: {refused})"))),
        }
    }

    fn clone(plan: &mut Plan, cgroup: Option<BorrowedFd<'_>>, ids: Ids) -> io::Result<Self> {
        let (uid, gid) = (geteuid(), getegid());
        let user_namespace = ids != Ids::Host;
        let mut flags = CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS;
        flags.set(CloneFlags::CLONE_NEWUSER, user_namespace);
        let (ours, theirs) = channel::pair()?;
        match clone::clone(flags, cgroup)? {
            Side::Child => clone::live(|| {
                let keep: Vec<RawFd> = plan.command.pipes.iter().copied().chain([theirs.as_raw_fd()]).collect();
                let closed = fds::close_from(3, &keep);
                let ready = closed.and_then(|()| if ids == Ids::Own { map_self(uid, gid) } else { Ok(()) });
                match ready {
                    Ok(()) => init::live(&theirs, plan),
                    Err(error) => init::give_up(&theirs, &error),
                }
            }),
            Side::Parent(pid) => {
                let sandbox = Sandbox {
                    pid,
                    ended: clone::pidfd(pid)?,
                    channel: ours,
                    user_namespace,
                    note: None,
                    users: ids != Ids::Own,
                };
                drop(theirs);
                if ids == Ids::All {
                    for map in ["uid_map", "gid_map"] {
                        let own = fs::read_to_string(format!("/proc/self/{map}"))?;
                        fs::write(format!("/proc/{pid}/{map}"), identity_map(&own))?;
                    }
                }
                Ok(sandbox)
            }
        }
    }

    /// Sends a request to init.
    ///
    /// # Errors
    /// That init is gone, with its last reply.
    pub(crate) fn request(&self, request: &InitRequest) -> Result<(), Failure> {
        self.request_with(request, &[])
    }

    /// Sends a request with descriptors.
    ///
    /// # Errors
    /// As for [`Sandbox::request`].
    pub(crate) fn request_with(&self, request: &InitRequest, descriptors: &[RawFd]) -> Result<(), Failure> {
        self.channel
            .send_with(request, descriptors)
            .map_err(|error| match self.channel.receive_within(STEP_LIMIT) {
                // Its last reply can still be read.
                Ok(InitReply::Failed(message)) => Failure::new(format!("cannot make the jail: {message}")),
                _ => Failure::new(format!("the jail's init is gone: {error}")),
            })
    }

    /// Returns init's reply to the request for `step`.
    ///
    /// # Errors
    /// The step that failed, or that init is gone or stuck.
    pub(crate) fn reply(&self, step: &str) -> Result<InitReply, Failure> {
        Ok(self.reply_with(step)?.0)
    }

    /// Returns init's reply, and the descriptors that come with it.
    ///
    /// # Errors
    /// As for [`Sandbox::reply`].
    pub(crate) fn reply_with(&self, step: &str) -> Result<(InitReply, Vec<OwnedFd>), Failure> {
        match self.channel.receive_with_within(STEP_LIMIT) {
            Ok((InitReply::Failed(message), _)) => Err(Failure::new(format!("the jail could not {step}: {message}"))),
            Ok(report) => Ok(report),
            Err(error) => Err(Failure::new(format!("the jail did not {step}: {error}"))),
        }
    }

    /// What init must know to make the jail's connections itself.
    pub(crate) fn notify(&self) -> Notify {
        Notify {
            user_namespace: self.user_namespace,
            users: self.users,
        }
    }

    /// Kills init, and so everything in its PID namespace, and waits until it is gone. Does nothing the second time.
    ///
    /// # Errors
    /// When something in there stays. It is killed, though: if it ever wakes it is to end.
    pub(crate) fn kill(&mut self) -> Result<(), NotEnded> {
        let pid = std::mem::replace(&mut self.pid, Pid::from_raw(0));
        if pid.as_raw() <= 0 {
            return Ok(());
        }
        self.channel.close();
        termination::kill_and_reap("the jail's first process", pid, self.ended.as_fd())
    }
}

/// The failure when a reply does not fit the request.
pub(crate) fn unexpected(report: &InitReply) -> Failure {
    Failure::new(format!("unexpected reply of the jail's init: {report:?}"))
}

/// Whom the jail's user namespace knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// There is no such namespace.
    Host,
    /// Everybody, as himself: written by the supervisor, who may.
    All,
    /// The caller, as himself: written by init, who may map nobody else. Groups cannot be changed then
    /// (user_namespaces(7), "/proc/PID/setgroups").
    Own,
}

/// Maps this process's user and group, as they were outside, to themselves.
fn map_self(uid: Uid, gid: Gid) -> io::Result<()> {
    let write = |file: &str, text: String| {
        let done = fs::write(format!("/proc/self/{file}"), text);
        done.map_err(|error| io::Error::new(error.kind(), format!("cannot write its {file}: {error}")))
    };
    // The supervisor cannot be dumped, and so neither can this copy of it: its files in /proc would be root's
    // (proc(5)). Init hides again before it obeys any order.
    prctl::set_dumpable(true)?;
    write("setgroups", "deny".into())?;
    write("gid_map", format!("{gid} {gid} 1"))?;
    write("uid_map", format!("{uid} {uid} 1"))
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
        if let Err(error) = self.kill() {
            tracing::warn!("{error}");
        }
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
