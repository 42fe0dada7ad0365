//! The state that all threads share which make the jail's calls.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::caller::ProcFs;
use super::registry::Registry;
use super::unreported::Unreported;
use crate::sys::notification::Listener;

/// What all threads that make calls share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The notification descriptor, from which the calls come.
    pub listener: Listener,
    /// The listeners that may be reached.
    pub registry: Registry,
    /// Connections whose caller was interrupted before it was told.
    pub unreported: Unreported,
    /// `/proc`.
    pub proc: ProcFs,
    /// Whether the jail has a user namespace: then this process has rights over a network only if the jail owns it.
    pub user_namespace: bool,
    /// Whether the jail has more than one user.
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

/// Returns a socket of this process's own network.
pub(super) fn socket_of_ours() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}
