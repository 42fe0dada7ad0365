//! The network of a container of the caller's, and how it is entered without root: by the user namespace that owns it, which is the
//! caller's own. Who enters that cannot come back, so a child process does.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::jail::protocol::channel;
use crate::jail::termination;
use crate::sys::clone::{self, Side};
use crate::sys::{fds, namespaces};

/// How long a step inside may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A network namespace, and the user namespace that owns it.
pub(super) struct Entrance {
    user: OwnedFd,
    network: File,
    number: u64,
}

impl Entrance {
    /// Opens those of this process.
    ///
    /// # Errors
    /// When they are not the caller's to open.
    pub(super) fn open(pid: Pid) -> io::Result<Entrance> {
        let network = File::open(format!("/proc/{pid}/ns/net"))?;
        let number = network.metadata()?.ino();
        if number == fs::metadata("/proc/self/ns/net")?.ino() {
            return Err(io::Error::other("it has no network of its own"));
        }
        let user = namespaces::owner(&network)?;
        Ok(Entrance { user, network, number })
    }

    /// The number of the network namespace.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Runs `work` inside, in a child process with all rights over that network. Returns what it returns, and the descriptors that it
    /// passes out.
    ///
    /// # Errors
    /// Those of entering, and of `work`.
    pub(super) fn within<T: Serialize + DeserializeOwned>(
        &self,
        work: impl FnOnce() -> io::Result<(T, Vec<OwnedFd>)>,
    ) -> io::Result<(T, Vec<OwnedFd>)> {
        let (ours, theirs) = channel::pair::<(), Result<T, String>>()?;
        match clone::fork()? {
            Side::Parent(child) => {
                drop(theirs);
                let ended = clone::pidfd(child)?;
                let said = ours.receive_with_within(LIMIT);
                termination::kill_and_reap("who is in the container's network", child, ended.as_fd())
                    .map_err(io::Error::other)?;
                let (said, descriptors) = said?;
                Ok((said.map_err(io::Error::other)?, descriptors))
            }
            Side::Child => clone::live(|| {
                let kept: [RawFd; 3] = [
                    self.user.as_raw_fd(),
                    self.network.as_raw_fd(),
                    theirs.as_fd().as_raw_fd(),
                ];
                let entered = prctl::set_pdeathsig(Signal::SIGKILL)
                    .map_err(io::Error::from)
                    .and_then(|()| fds::close_from(3, &kept))
                    .and_then(|()| Ok(setns(&self.user, CloneFlags::CLONE_NEWUSER)?))
                    .and_then(|()| Ok(setns(&self.network, CloneFlags::CLONE_NEWNET)?));
                let (said, passed) = match entered.and_then(|()| work()) {
                    Ok((said, passed)) => (Ok(said), passed),
                    Err(error) => (Err(error.to_string()), Vec::new()),
                };
                let raw: Vec<RawFd> = passed.iter().map(|passed| passed.as_raw_fd()).collect();
                i32::from(theirs.send_with(&said, &raw).is_err())
            }),
        }
    }
}
