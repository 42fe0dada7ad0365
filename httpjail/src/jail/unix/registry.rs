//! The listeners that may be reached: those of the jail, added when they begin to listen, and those that the caller
//! allowed.
//!
//! Each is an inode, and a descriptor keeps it open so that its number is not used again. A connection is made through
//! that descriptor: even if two files had the same numbers, it reaches a listener of the jail.

use crate::sync::lock;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;
use nix::libc::{S_IFMT, S_IFSOCK, dev_t, ino_t};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::fstat;

use super::caller::ProcFs;
use crate::sys::socket as raw;

/// How many listeners are held before the first sweep for closed ones.
const FIRST_SWEEP: usize = 64;

type Number = (dev_t, ino_t);

/// The sockets that may be reached by a name in the file system.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    allowed: HashMap<Number, Arc<OwnedFd>>,
    own: HashMap<Number, Arc<OwnedFd>>,
    next_sweep: usize,
}

impl Registry {
    /// Begins with the sockets that the caller allowed.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub(super) fn new(allowed: &[OwnedFd]) -> io::Result<Self> {
        let mut inner = Inner {
            next_sweep: FIRST_SWEEP,
            ..Inner::default()
        };
        for file in allowed {
            if let Some(number) = socket_number(file)? {
                inner.allowed.insert(number, Arc::new(file.try_clone()?));
            }
        }
        Ok(Registry(Mutex::new(inner)))
    }

    /// Returns the descriptor by which to reach the listener at this file, or `None` if it is not the jail's.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub(super) fn find(&self, file: &OwnedFd) -> io::Result<Option<Arc<OwnedFd>>> {
        let Some(number) = socket_number(file)? else {
            return Ok(None);
        };
        let inner = self.lock();
        Ok(inner.own.get(&number).or_else(|| inner.allowed.get(&number)).cloned())
    }

    /// Adds the file of a socket that is about to listen.
    ///
    /// # Errors
    /// ENOBUFS when more are held than descriptors allow; those of `fstat(2)`.
    pub(super) fn enter(&self, file: OwnedFd, proc: &ProcFs) -> io::Result<()> {
        let Some(number) = socket_number(&file)? else {
            return Ok(());
        };
        let mut inner = self.lock();
        if inner.own.len() >= inner.next_sweep {
            inner.sweep(proc)?;
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
            // The other half is for connections in progress.
            if inner.own.len() as u64 >= limit / 2 {
                return Err(Errno::ENOBUFS.into());
            }
            inner.next_sweep = FIRST_SWEEP.max(2 * inner.own.len());
        }
        inner.own.insert(number, Arc::new(file));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.0)
    }
}

impl Inner {
    /// Drops the listeners that are closed. Connecting a datagram socket shows the difference without a connection:
    /// EPROTOTYPE for an open stream listener, ECONNREFUSED for a closed one (net/unix/af_unix.c, `unix_find_bsd`).
    fn sweep(&mut self, proc: &ProcFs) -> io::Result<()> {
        let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        self.own.retain(|_, file| {
            let asked = raw::connect(probe.as_fd(), &proc.address_of(file));
            asked.err().and_then(|error| error.raw_os_error()) != Some(Errno::ECONNREFUSED as i32)
        });
        Ok(())
    }
}

/// Returns device and inode number of a file, if it is a socket.
fn socket_number(file: &OwnedFd) -> io::Result<Option<Number>> {
    let found = fstat(file)?;
    Ok((found.st_mode & S_IFMT == S_IFSOCK).then_some((found.st_dev, found.st_ino)))
}
