//! A process's command line, read by a process that can be given up.
//!
//! It lies in the other's own memory, behind a lock that the other may hold as long as it likes: it maps a file of a file system
//! that it serves itself (FUSE), and answers nothing. The supervisor hears signals and keeps the time meanwhile, so it lets a child
//! read. One that is late is ended: the kernel lets go of who is killed there.

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

/// How long a reading may take: on a machine with a hundred times more to run than it has processors it takes a second.
const LIMIT: Duration = Duration::from_secs(2);
/// How long one that was killed may take to go; if it takes longer, nobody waits for it.
const GOING: Duration = Duration::from_millis(100);

/// Reads command lines, once asked.
#[derive(Debug, Default)]
pub(crate) struct CmdlineReader(RefCell<Option<ReaderProcess>>);

impl CmdlineReader {
    /// The command line of a process, if it can be had in time.
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

/// The child. Dropped, it is ended.
#[derive(Debug)]
struct ReaderProcess {
    pid: Pid,
    ended: OwnedFd,
    line: IpcChannel<u32, Option<String>>,
}

impl ReaderProcess {
    fn start() -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        match clone::fork()? {
            Side::Parent(pid) => Ok(ReaderProcess {
                pid,
                ended: clone::pidfd(pid)?,
                line: ours,
            }),
            Side::Child => clone::live(|| match live(&theirs) {
                // The end of the line.
                Err(_) => 0,
            }),
        }
    }

    fn ask(&self, pid: u32) -> io::Result<Option<String>> {
        self.line.send(&pid)?;
        self.line.receive_within(LIMIT)
    }
}

fn live(line: &IpcChannel<Option<String>, u32>) -> io::Result<std::convert::Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    fds::close_from(0, &[line.as_raw_fd()])?;
    loop {
        let pid = line.receive()?;
        line.send(&lookup::cmdline(pid))?;
    }
}

impl Drop for ReaderProcess {
    fn drop(&mut self) {
        // Our own child, not yet waited for: the number cannot be anybody else's.
        let _ = kill(self.pid, Signal::SIGKILL);
        if wait_readable(self.ended.as_fd(), GOING).unwrap_or(false) {
            let _ = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        }
    }
}
