//! seccomp's user notification (seccomp_unotify(2)): a filter passes calls to another process, which makes them and
//! answers.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The kernel's number for this notification.
    pub id: u64,
    /// The thread that called, as the reader's PID namespace knows it.
    pub thread: Pid,
    /// Which call: `SYS_*`.
    pub number: libc::c_long,
    /// Its arguments, as they were in the registers.
    pub arguments: [u64; 6],
}

/// Where the calls of a filter arrive.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// Room for what the kernel tells of a call.
#[repr(C)]
struct Room {
    call: libc::seccomp_notif,
    later: [u64; 64],
}

/// The restart of a call that a signal interrupts (`include/linux/errno.h`): the kernel makes EINTR of it, or calls again.
pub(crate) const RESTART: i32 = 512;

/// Installs a filter on this thread whose notifications arrive at the descriptor that is returned. no_new_privs must be set.
///
/// A call that was read is then interrupted by a deadly signal alone, where the kernel can do that (Linux 5.19): Go's and
/// others' own signals would have it made twice.
///
/// # Errors
/// Those of `seccomp(2)`; EBUSY where a filter of this process has such a descriptor already.
pub(crate) fn install(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let mut filter = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    for flags in [listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, listener] {
        // SAFETY: the program lives until the call returns, and the kernel copies and checks it.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw mut filter) };
        if fd >= 0 {
            // SAFETY: the kernel just gave this descriptor (close-on-exec) to us alone.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        }
        if Errno::last() != Errno::EINVAL {
            break;
        }
    }
    Err(io::Error::last_os_error())
}

impl Listener {
    /// Takes over a descriptor that [`install`] made.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        // The answering thread runs at once on the processor of the caller (Linux 6.6): a third of the time. Without it
        // everything goes as well.
        // SAFETY: the ioctl takes its flags by value.
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1_u64) };
        Listener(fd)
    }

    /// Waits for the next call.
    ///
    /// # Errors
    /// EINTR; ENOENT when the caller was interrupted meanwhile, or nobody is left who could call.
    pub(crate) fn receive(&self) -> io::Result<Call> {
        // SAFETY: all zeroes is a valid value of this plain structure, and what the kernel demands.
        let mut room: Room = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes its own structure of that name, which may one day be longer, but not longer than this.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut room) };
        Errno::result(done)?;
        let call = room.call;
        Ok(Call {
            id: call.id,
            thread: Pid::from_raw(call.pid as i32),
            number: call.data.nr.into(),
            arguments: call.data.args,
        })
    }

    /// Whether the caller still waits: if so, its process id and memory were its own until now.
    pub(crate) fn waits(&self, call: &Call) -> bool {
        let id = call.id;
        // SAFETY: the kernel reads one number.
        uninterrupted(|| unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) })
            .is_ok()
    }

    /// Answers with a value, or with an error number.
    ///
    /// # Errors
    /// ENOENT when the caller waits no more; EINPROGRESS when it was answered already.
    pub(crate) fn answer(&self, call: &Call, answer: Result<i64, i32>) -> io::Result<()> {
        let response = libc::seccomp_notif_resp {
            id: call.id,
            val: answer.unwrap_or(0),
            error: answer.err().map_or(0, |number| -number),
            flags: 0,
        };
        // SAFETY: the kernel reads one such structure.
        let send = || unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
        uninterrupted(send).map(drop)
    }

    /// Opens a copy of `fd` in the caller's process and returns its number there.
    ///
    /// # Errors
    /// ENOENT when the caller waits no more; EMFILE.
    pub(crate) fn give(&self, call: &Call, fd: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<i64> {
        let given = libc::seccomp_notif_addfd {
            id: call.id,
            flags: 0,
            srcfd: fd.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        const { assert!(size_of::<libc::seccomp_notif_addfd>() == 24) };
        // SAFETY: the kernel reads one such structure.
        let add = || unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const given) };
        uninterrupted(add).map(i64::from)
    }
}

/// Makes a call until no signal comes in between: each of these waits for a lock that way (kernel/seccomp.c).
fn uninterrupted(call: impl Fn() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        match Errno::result(call()) {
            Err(Errno::EINTR) => {}
            done => return Ok(done?),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
