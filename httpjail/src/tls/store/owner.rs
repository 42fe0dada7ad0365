//! The user for whom the authority is kept.

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, fchown, geteuid};
use std::os::fd::OwnedFd;

/// The owner of the files that are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    /// Set if the owner of new files must be changed.
    gid: Option<Gid>,
}

impl Owner {
    pub(super) fn new(owner: Option<(u32, u32)>) -> Self {
        match owner {
            Some((uid, gid)) => Owner {
                uid: Uid::from_raw(uid),
                gid: Some(Gid::from_raw(gid)),
            },
            None => Owner {
                uid: geteuid(),
                gid: None,
            },
        }
    }

    /// Returns true if the process is root and acts for another user, who must not get its rights.
    pub(super) fn is_another(self) -> bool {
        geteuid().is_root() && !self.uid.is_root()
    }

    /// Changes the owner of a file that was just made, unless it is right already (as usual, and after the caller switched the
    /// file-system user).
    pub(super) fn give(self, fd: &OwnedFd) -> Result<(), Errno> {
        match self.gid {
            Some(gid) if fstat(fd)?.st_uid != self.uid.as_raw() => fchown(fd, Some(self.uid), Some(gid)),
            _ => Ok(()),
        }
    }
}
