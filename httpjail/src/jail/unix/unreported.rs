//! Connections that were made, but whose caller was interrupted before it was told.
//!
//! Before Linux 5.19 any signal interrupts a call that waits for its answer, and most calls are then made again: the
//! socket is connected already, and the caller does not know. The second call must get the answer of the first.

use crate::sync::lock;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use nix::sys::stat::fstat;

/// More at once are not remembered: their callers see EISCONN.
const MOST: usize = 64;

/// The sockets, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Unreported(Mutex<VecDeque<u64>>);

impl Unreported {
    /// What a socket is remembered by.
    pub(super) fn key(socket: &OwnedFd) -> Option<u64> {
        fstat(socket).ok().map(|found| found.st_ino)
    }

    /// Remembers a socket.
    pub(super) fn put(&self, key: u64) {
        let mut sockets = lock(&self.0);
        sockets.truncate(MOST - 1);
        sockets.push_front(key);
    }

    /// Whether it was remembered; not any more.
    pub(super) fn take(&self, socket: &OwnedFd) -> bool {
        let Some(key) = Self::key(socket) else { return false };
        let mut sockets = lock(&self.0);
        let at = sockets.iter().position(|socket| *socket == key);
        at.and_then(|at| sockets.remove(at)).is_some()
    }
}
