//! Reads a process's command line in a child process that can be killed.
//!
//! The command line lies in the memory of the process, behind a lock that it can hold for as long as it likes: it maps
//! a file of a file system that it serves itself (FUSE) and never answers. The supervisor must handle signals and
//! deadlines meanwhile, so a child reads. A child that is late is killed, and the kernel lets go of it.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::lookup;
use crate::jail::protocol::channel::{self, IpcChannel, wait_readable};
use crate::sys::clone::{self, Side};
use crate::sys::fds;

/// How long reading may take. On a machine with a hundred runnable processes a processor it takes a second.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a killed reader may take to end. If it takes longer it is not waited for.
const GOING: Duration = Duration::from_millis(100);

/// Reads command lines. The child process is started by the first request.
#[derive(Debug, Default)]
pub(crate) struct CmdlineReader(RefCell<Option<ReaderProcess>>);

impl CmdlineReader {
    /// Returns the command line of a process, if it can be read in time.
    pub(crate) fn of(&self, pid: u32) -> Option<String> {
        let mut reader = self.0.borrow_mut();
        if reader.is_none() {
            *reader = ReaderProcess::start().ok();
        }
        let read = reader.as_ref()?.ask(pid);
        if read.is_err() {
            *reader = None;
        }
        read.ok()?
    }
}

/// The child process. Dropping it kills the process.
#[derive(Debug)]
struct ReaderProcess {
    pid: Pid,
    ended: OwnedFd,
    channel: IpcChannel<u32, Option<String>>,
}

impl ReaderProcess {
    fn start() -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        match clone::fork()? {
            Side::Parent(pid) => Ok(ReaderProcess {
                pid,
                ended: clone::pidfd(pid)?,
                channel: ours,
            }),
            Side::Child => clone::live(|| match live(&theirs) {
                // The channel has ended.
                Err(_) => 0,
            }),
        }
    }

    fn ask(&self, pid: u32) -> io::Result<Option<String>> {
        self.channel.send(&pid)?;
        self.channel.receive_within(LIMIT)
    }
}

fn live(channel: &IpcChannel<Option<String>, u32>) -> io::Result<std::convert::Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    fds::close_from(0, &[channel.as_raw_fd()])?;
    loop {
        let pid = channel.receive()?;
        channel.send(&lookup::cmdline(pid))?;
    }
}

impl Drop for ReaderProcess {
    fn drop(&mut self) {
        // A child that has not been reaped: no other process can have its id.
        let _ = kill(self.pid, Signal::SIGKILL);
        if wait_readable(self.ended.as_fd(), GOING).unwrap_or(false) {
            let _ = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        }
    }
}
