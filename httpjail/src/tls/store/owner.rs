//! For whom the authority is kept.

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, fchown, geteuid};
use std::os::fd::OwnedFd;

/// For whom files are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    /// Only set where files have to be given away.
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

    /// Whether we hold more rights than the one for whom we act, and must not lend them.
    pub(super) fn is_another(self) -> bool {
        geteuid().is_root() && !self.uid.is_root()
    }

    /// Gives away what we have just made. Nothing happens if it is theirs already (the usual case, and that of a caller
    /// who switched the file-system user).
    pub(super) fn give(self, fd: &OwnedFd) -> Result<(), Errno> {
        match self.gid {
            Some(gid) if fstat(fd)?.st_uid != self.uid.as_raw() => fchown(fd, Some(self.uid), Some(gid)),
            _ => Ok(()),
        }
    }
}
