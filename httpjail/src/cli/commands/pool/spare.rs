//! One jail of the pool, as the pool's process sees it: a process of its own, which is the jail's supervisor.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::unistd::Pid;

use crate::cli::backends;
use crate::cli::context::RunContext;
use crate::failure::Failure;
use crate::jail::process::apart::set_apart;
use crate::jail::protocol::channel::{self, IpcChannel};
use crate::jail::protocol::pool::{FromSpare, ToSpare};
use crate::sys::clone::{self, Side};

/// A jail. Dropping the handle ends it: its supervisor reads end-of-file.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) pid: Pid,
    channel: IpcChannel<ToSpare, FromSpare>,
}

impl Spare {
    /// Forks the supervisor of a jail, for `context`. `loud`: it says what its jail cannot hold.
    ///
    /// # Errors
    /// Those of the fork.
    pub(super) fn start(context: &Rc<RunContext>, loud: bool) -> io::Result<Spare> {
        let (ours, theirs) = channel::pair()?;
        match clone::fork()? {
            Side::Parent(pid) => Ok(Spare { pid, channel: ours }),
            Side::Child => clone::live(|| {
                // Nothing of the pool's stays: no connection, no other jail's channel, no terminal.
                let settled = set_apart(&[theirs.as_raw_fd()])
                    .map_err(|error| Failure::new(format!("cannot start a jail: {error}")));
                let lost = theirs.try_clone();
                let done = settled.and_then(|()| backends::live(context, theirs, loud));
                match (done, lost) {
                    (Ok(()), _) => 0,
                    (Err(failure), lost) => {
                        // A pool that is gone hears nothing.
                        let _ = lost.and_then(|pool| pool.send(&FromSpare::Failed(failure)));
                        125
                    }
                }
            }),
        }
    }

    /// What the supervisor says; none if it has ended.
    pub(super) fn hear(&self) -> Option<FromSpare> {
        self.channel.receive().ok()
    }

    /// Gives the jail to a client.
    ///
    /// # Errors
    /// When the jail is gone.
    pub(super) fn give(&self, connection: &OwnedFd, (uid, gid, groups): (u32, u32, Vec<u32>)) -> io::Result<()> {
        let client = ToSpare::Client { uid, gid, groups };
        self.channel.send_with(&client, &[connection.as_raw_fd()])
    }
}

impl AsFd for Spare {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
