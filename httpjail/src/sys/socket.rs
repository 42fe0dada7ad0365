//! Socket calls that nix and socket2 do not offer: on sockets of other processes, and with addresses as bytes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// `SIOCUNIXFILE` (`include/uapi/linux/un.h`, Linux 4.12).
const SIOCUNIXFILE: libc::c_ulong = 0x89e0;
/// `SIOCGSKNS` (`include/uapi/linux/sockios.h`, Linux 4.10).
const SIOCGSKNS: libc::c_ulong = 0x894c;
/// `PIDFD_THREAD` (`include/uapi/linux/pidfd.h`, Linux 6.9).
const PIDFD_THREAD: libc::c_int = libc::O_EXCL;

/// Opens a handle of that very thread; on kernels that know none but of processes, of its process if it is the first thread.
///
/// # Errors
/// Those of `pidfd_open(2)`; EINVAL or ENOENT for another thread on such a kernel.
pub(crate) fn thread_handle(thread: Pid) -> io::Result<OwnedFd> {
    let open = |flags: libc::c_int| {
        // SAFETY: the call takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, thread.as_raw(), flags) };
        // SAFETY: if it is one, the kernel just gave this descriptor (close-on-exec) to us alone.
        Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    };
    match open(PIDFD_THREAD) {
        Err(Errno::EINVAL) => Ok(open(0)?),
        handle => Ok(handle?),
    }
}

/// A copy of the descriptor `number` of the process or thread of a [`thread_handle`] (`pidfd_getfd(2)`, Linux 5.6).
///
/// # Errors
/// Those of `pidfd_getfd(2)`: EBADF when it has none of that number, EPERM without the right to trace it.
pub(crate) fn take(process: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    Errno::result(fd)?;
    // SAFETY: the kernel just gave this descriptor (close-on-exec) to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The address family (`SO_DOMAIN`).
///
/// # Errors
/// ENOTSOCK.
pub(crate) fn domain(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    option(socket, libc::SO_DOMAIN)
}

/// How long a send, or a connect, may take (`SO_SNDTIMEO`); `None` is forever.
///
/// # Errors
/// Those of `getsockopt(2)`.
pub(crate) fn send_limit(socket: BorrowedFd<'_>) -> io::Result<Option<std::time::Duration>> {
    let limit: libc::timeval = option(socket, libc::SO_SNDTIMEO)?;
    let limit = std::time::Duration::new(limit.tv_sec.unsigned_abs(), limit.tv_usec.unsigned_abs() as u32 * 1000);
    Ok(Some(limit).filter(|limit| !limit.is_zero()))
}

/// The supplementary groups of who made the other end of a connected Unix socket, as the kernel has kept them
/// (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// Those of `getsockopt(2)`.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // Enough for most, and then for what a process can have (NGROUPS_MAX).
    for room in [64, 65_536] {
        let mut groups = vec![0u32; room];
        let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which are there.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        match Errno::result(done) {
            Err(Errno::ERANGE) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {
                groups.truncate(length as usize / size_of::<u32>());
                return Ok(groups);
            }
        }
    }
    Err(Errno::ERANGE.into())
}

fn option<T: Copy>(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which are there.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(done)?;
    // SAFETY: zeroes where the kernel wrote nothing; both types that are asked for are plain integers.
    Ok(unsafe { value.assume_init() })
}

/// Connects to an address that is given as its bytes.
///
/// # Errors
/// Those of `connect(2)`.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel copies that many bytes and judges them.
    let done = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as libc::socklen_t,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// Listens, with any backlog, as the kernel cuts it.
///
/// # Errors
/// Those of `listen(2)`.
pub(crate) fn listen(socket: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes two integers.
    let done = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
    Ok(Errno::result(done).map(drop)?)
}

/// The file that a Unix socket is bound to, whatever its names by now, as a descriptor that keeps it.
///
/// # Errors
/// ENOENT for one that is bound to no file; EPERM without CAP_NET_ADMIN over its network namespace.
pub(crate) fn bound_file(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    new_descriptor(socket, SIOCUNIXFILE)
}

/// The network namespace that a socket is of.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over it.
pub(crate) fn network(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    new_descriptor(socket, SIOCGSKNS)
}

fn new_descriptor(socket: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<OwnedFd> {
    // SAFETY: both requests take no argument.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), request as _, 0) };
    Errno::result(fd)?;
    // SAFETY: the kernel just gave this descriptor (close-on-exec) to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
