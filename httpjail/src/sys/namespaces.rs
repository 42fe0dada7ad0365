//! Namespaces: who owns them.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::libc;

/// `linux/nsfs.h`: `_IO(0xb7, 1)`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// Returns the user namespace whose root has all rights over this namespace.
///
/// # Errors
/// EPERM if that is above the caller's own.
pub(crate) fn owner(namespace: &impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument, and the descriptor is open while the call lasts.
    let found = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS) };
    if found < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(found) })
}
