//! The descriptors that the command inherits: 0, 1, 2 and pipes.
//!
//! The kernel programs judge a socket by the cgroup and the namespace in which it was created, not by the process that
//! holds it: a socket that leaks into the jail is an open way out. So is the descriptor of a directory, which leads
//! past the mounts that hide files.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};

use crate::sys::fds;

/// What the jail makes of the descriptors that httpjail itself inherited.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// Pipes above 2, which the command gets (make's jobserver, a shell's `<(...)`).
    pub pipes: Vec<RawFd>,
}

/// A descriptor that the command may not have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    /// 0, 1 or 2 leads out of the jail.
    #[error("{name} is {what}: a descriptor made outside the jail is not held by it")]
    Foreign {
        /// `standard input` and so on.
        name: &'static str,
        what: &'static str,
    },
    /// `/proc/self/fd` could not be read.
    #[error("cannot inspect the inherited descriptors: {0}")]
    Unreadable(#[from] io::Error),
}

/// Inspects the inherited descriptors before httpjail opens any itself, and closes all above 2 that are not pipes.
///
/// # Errors
/// When 0, 1 or 2 is a socket other than a Unix one, or a directory.
pub(crate) fn take_stock() -> Result<Inherited, StdioError> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    check([input.as_fd(), output.as_fd(), error.as_fd()])?;
    let mut pipes: Vec<RawFd> = fds::open()?.into_iter().filter(|fd| *fd > 2 && is_pipe(*fd)).collect();
    pipes.sort_unstable();
    fds::close_from(3, &pipes)?;
    Ok(Inherited { pipes })
}

/// Looks at what is to be standard input, output and error.
///
/// # Errors
/// As [`take_stock`].
pub(crate) fn check(standard: [BorrowedFd<'_>; 3]) -> Result<(), StdioError> {
    let names = ["standard input", "standard output", "standard error"];
    for (name, fd) in names.into_iter().zip(standard) {
        if let Some(what) = foreign(fd) {
            return Err(StdioError::Foreign { name, what });
        }
    }
    Ok(())
}

fn foreign(descriptor: BorrowedFd<'_>) -> Option<&'static str> {
    let fd = descriptor.as_raw_fd();
    let kind = std::fs::metadata(format!("/proc/self/fd/{fd}")).ok()?.file_type();
    if kind.is_dir() {
        return Some("a directory");
    }
    // An io_uring ring (which makes calls with the rights of its maker, without a system call), a pidfd, an epoll.
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    if link.as_os_str().as_encoded_bytes().starts_with(b"anon_inode:") {
        return Some("a handle of the kernel's");
    }
    if !kind.is_socket() {
        return None;
    }
    let family = getsockname::<SockaddrStorage>(fd)
        .ok()
        .and_then(|address| address.family());
    if family != Some(AddressFamily::Unix) {
        return Some("a network socket");
    }
    // A datagram socket sends to any name, even when it is connected (unix(7)).
    let kind = getsockopt(&descriptor, sockopt::SockType);
    let connects = [Ok(SockType::Stream), Ok(SockType::SeqPacket)].contains(&kind);
    (!connects).then_some("a datagram socket")
}

/// Returns true if `fd` is a pipe without a name.
pub(crate) fn is_pipe(fd: RawFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    link.is_ok_and(|link| link.to_string_lossy().starts_with("pipe:["))
}

/// Returns true if `fd` is open on a terminal.
pub(crate) fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}
