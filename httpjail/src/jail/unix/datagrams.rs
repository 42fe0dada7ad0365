//! Makes Unix datagram sockets in place of the jailed process: a process that can send on one could send to any name.

use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;
use nix::libc::{AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socket, socketpair};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};

use super::caller::Caller;
use super::shared::{Answer, Shared, errno};
use crate::sys::notification::Call;

/// One that sends nothing. Some programs only ask it for the number of an interface.
pub(super) fn one(shared: &Shared, call: &Call) -> Answer {
    let [_, kind, protocol, ..] = call.arguments.map(|argument| argument as i32);
    if ![0, AF_UNIX].contains(&protocol) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let flags = SockFlag::SOCK_CLOEXEC | flags_of(kind)?;
    let made = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // For good (net/core/sock.c, sock_alloc_send_pskb: EPIPE).
    shutdown(made.as_raw_fd(), Shutdown::Write)?;
    let given = shared.listener.give(call, made.as_fd(), kind & SOCK_CLOEXEC != 0);
    given.map_err(errno)
}

/// A pair that keeps the borders of messages, but knows no way to another name, as one for datagrams would.
pub(super) fn pair(shared: &Shared, call: &Call, caller: &Caller<'_>) -> Answer {
    let [_, kind, protocol, ..] = call.arguments.map(|argument| argument as i32);
    if ![0, AF_UNIX].contains(&protocol) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let flags = SockFlag::SOCK_CLOEXEC | flags_of(kind)?;
    // What is given cannot be taken back: so first of all, whether both can be, and told.
    if !caller.has_room_for(2).map_err(errno)? {
        return Err(Errno::EMFILE);
    }
    tell(shared, call, [-1; 2])?;
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let mut numbers = [-1; 2];
    for (end, number) in [one, other].iter().zip(&mut numbers) {
        let given = shared.listener.give(call, end.as_fd(), kind & SOCK_CLOEXEC != 0);
        *number = i32::try_from(given.map_err(errno)?).map_err(|_| Errno::EMFILE)?;
    }
    tell(shared, call, numbers)
}

/// Writes the numbers of the two where the caller wants them.
fn tell(shared: &Shared, call: &Call, numbers: [i32; 2]) -> Answer {
    let bytes = numbers.map(i32::to_ne_bytes).concat();
    let place = [RemoteIoVec {
        base: call.arguments[3] as usize,
        len: bytes.len(),
    }];
    if !shared.listener.waits(call) {
        return Err(Errno::ESRCH);
    }
    match process_vm_writev(call.thread, &[IoSlice::new(&bytes)], &place) {
        Ok(written) if written == bytes.len() => Ok(0),
        _ => Err(Errno::EFAULT),
    }
}

fn flags_of(kind: i32) -> Result<SockFlag, Errno> {
    // SOCK_TYPE_MASK of include/linux/net.h.
    if kind & !0xf & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut flags = SockFlag::empty();
    flags.set(SockFlag::SOCK_NONBLOCK, kind & SOCK_NONBLOCK != 0);
    Ok(flags)
}
