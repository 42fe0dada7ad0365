//! The socket at which children tell that they hold what they were started for (sd_notify(3)): one for all, because the kernel says who
//! sends.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};

use super::state;
use crate::cli::readiness::READY;
use crate::failure::Failure;

/// The socket.
pub(super) struct ReadinessSocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ReadinessSocket {
    /// Makes it, in the node's directory.
    ///
    /// # Errors
    /// Those of making it.
    pub(super) fn bind() -> Result<ReadinessSocket, Failure> {
        let path = Path::new(state::DIRECTORY).join(state::READY);
        let _ = fs::remove_file(&path);
        let bound = UnixDatagram::bind(&path).and_then(|socket| {
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::PassCred, &true)?;
            Ok(socket)
        });
        let socket =
            bound.map_err(|error| Failure::new(format!("cannot make the socket {}: {error}", path.display())))?;
        Ok(ReadinessSocket { socket, path })
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the process that has told next, if one has.
    pub(super) fn next(&self) -> Option<i32> {
        loop {
            match self.receive() {
                Ok(Some(pid)) => return Some(pid),
                // Something else was said.
                Ok(None) => {}
                Err(_) => return None,
            }
        }
    }

    fn receive(&self) -> io::Result<Option<i32>> {
        let mut bytes = [0; 64];
        let mut space = cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        let length = received.bytes;
        let sender = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
            _ => None,
        });
        Ok(sender.filter(|_| bytes.get(..length) == Some(READY)))
    }
}

impl AsFd for ReadinessSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for ReadinessSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
