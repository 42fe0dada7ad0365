//! Lists descriptors, closes ranges of them, and passes them to other processes.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Closes every descriptor from `first` up, except those in `keep` (`close_range(2)`, Linux 5.9, else one by one).
///
/// The caller must own what it closes: this is for a process that was just forked and is about to become something
/// else, whose other descriptors belong to values that it will never touch again.
///
/// # Errors
/// Those of reading `/proc/self/fd` where `close_range` is missing.
pub(crate) fn close_from(first: RawFd, keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut start = first;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if fd > start {
            close_range(start, fd - 1)?;
        }
        start = fd.saturating_add(1);
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: the call takes integers; that nothing uses these descriptors any more is the caller's promise above.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done == 0 {
        return Ok(());
    }
    for fd in open()?.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // The descriptor of the directory that was read is among them and already closed: EBADF is no fault.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// The descriptors that this process has open.
///
/// # Errors
/// Those of reading `/proc/self/fd`.
pub(crate) fn open() -> io::Result<Vec<RawFd>> {
    let mut fds = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        fds.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    Ok(fds)
}

/// Sends `bytes` with descriptors attached (`SCM_RIGHTS`) on a connected Unix socket.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub(crate) fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(Errno::EINTR) => {}
            done => return Ok(done.map(drop)?),
        }
    }
}

/// Receives bytes and the descriptors that came with them, closed on exec. No bytes: the peer is gone.
///
/// # Errors
/// Those of `recvmsg(2)`; `InvalidData` for a message longer than `bytes` or with more descriptors than 16.
pub(crate) fn receive_with(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = cmsg_space!([RawFd; 16]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut room),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            done => break done?,
        }
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just opened these descriptors for this message alone.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was truncated"));
    }
    Ok((message.bytes, fds))
}

/// Lets these descriptors pass an exec (they are pipes that the command inherits).
///
/// # Errors
/// Those of `fcntl(2)`.
pub(crate) fn keep_across_exec(fds: &[RawFd]) -> io::Result<()> {
    for fd in fds {
        // SAFETY: F_SETFD takes an integer and changes nothing but the flag; a closed descriptor is EBADF.
        if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives descriptors the numbers that are beside them, open across an exec, whatever had these numbers before.
///
/// As for [`close_from`], the caller is a fork that will never again touch what it had under them.
///
/// # Errors
/// Those of `fcntl(2)` and `dup2(2)`.
pub(crate) fn place(pairs: Vec<(OwnedFd, RawFd)>) -> io::Result<()> {
    let last = pairs.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let moved = pairs
        .into_iter()
        .map(|(fd, number)| Ok((above(fd, last)?, number)))
        .collect::<io::Result<Vec<_>>>()?;
    for (fd, number) in moved {
        // SAFETY: the call takes integers; that nothing uses the number any more is the caller's promise above.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The same open file under a number above `last`, closed on exec.
///
/// # Errors
/// Those of `fcntl(2)`.
pub(crate) fn above(fd: OwnedFd, last: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes integers.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, last.saturating_add(1)) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
