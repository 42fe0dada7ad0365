//! The state that all threads share which make the jail's calls.

use std::io;

use nix::errno::Errno;

use super::caller::ProcFs;
use super::registry::Registry;
use super::unreported::Unreported;
use crate::sys::notification::Listener;

/// What all threads that make calls share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Where the calls come from.
    pub listener: Listener,
    /// Who may be reached.
    pub registry: Registry,
    /// What was done and could not be told.
    pub unreported: Unreported,
    /// The kernel's own files.
    pub proc: ProcFs,
    /// The jail has a user namespace: what this process may do to a network, it may because that network is in the jail.
    pub user_namespace: bool,
    /// There is more than one user.
    pub users: bool,
}

/// A call's answer; an error is an error number.
pub(super) type Answer = Result<i64, Errno>;

pub(super) fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

pub(super) fn errno(error: io::Error) -> Errno {
    errno_of(&error).unwrap_or(Errno::EIO)
}
