//! Makes processes: `clone3(2)` with namespaces and a cgroup, and plain `fork(2)`.
//!
//! Both refuse to run in a process with more than one thread. The child of a threaded process may call only
//! async-signal-safe functions; the child of a single-threaded one may continue as ordinary Rust, as the jail's init
//! and the proxy do. `PDEATHSIG` follows the *thread* that forks, so the main thread must fork.

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::sys::signal::{SigAction, SigHandler, Signal, sigaction};
use nix::unistd::{ForkResult, Pid};

/// Which side of a clone one woke up on.
#[derive(Debug)]
pub(crate) enum Side {
    /// The parent, with the child's process id as the parent sees it.
    Parent(Pid),
    Child,
}

/// `struct clone_args` of `linux/sched.h`, the 88 bytes of Linux 5.7 (the first with `cgroup`).
#[repr(C)]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// How long a joined thread may take to be gone, on a busy machine.
const JOINED_LIMIT: Duration = Duration::from_secs(1);

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks a child into new namespaces and, if given, straight into a cgroup (the directory's descriptor).
///
/// # Errors
/// Those of `clone3(2)`, and `InvalidInput` if this process has more than one thread.
pub(crate) fn clone(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    single_threaded()?;
    let mut arguments = CloneArgs {
        flags: flags.bits() as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live until the call returns and ask for no shared memory, no thread-local storage and no
    // stack of the caller's, so the child has a copy of this process; there is one thread, so no lock is held elsewhere.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) };
    // Container runtimes answer so because their filters cannot look into the structure; the older call they judge.
    if pid == -1 && cgroup.is_none() && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        // SAFETY: as above; without a stack of its own the child goes on with a copy of this one, as after fork(2).
        pid = unsafe {
            libc::syscall(
                libc::SYS_clone,
                libc::c_long::from(flags.bits() | libc::SIGCHLD),
                0,
                0,
                0,
                0,
            )
        };
    }
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(Pid::from_raw(pid as i32))),
    }
}

/// Forks a child like this process.
///
/// # Errors
/// Those of `fork(2)`, and `InvalidInput` if this process has more than one thread.
pub(crate) fn fork() -> io::Result<Side> {
    single_threaded()?;
    // SAFETY: this process has one thread, so the child may use everything that this process could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child)),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// Opens a descriptor that becomes readable when the process `pid` ends (`pidfd_open(2)`, Linux 5.3).
///
/// # Errors
/// Those of `pidfd_open(2)`.
pub(crate) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor (close-on-exec) to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process of a [`pidfd`] (`pidfd_send_signal(2)`, Linux 5.1), and to no other that has its number by now.
///
/// # Errors
/// Those of `pidfd_send_signal(2)`; ESRCH when it has ended.
pub(crate) fn signal(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let (fd, number) = (process.as_raw_fd(), signal as libc::c_int);
    // SAFETY: the call takes integers and, for the signal's origin, none.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lives as the child of a clone: runs `life` and ends with its result. A panic ends the process too (status 125) and never
/// unwinds into what the parent was doing.
pub(crate) fn live(life: impl FnOnce() -> i32) -> ! {
    exit_now(catch_unwind(AssertUnwindSafe(life)).unwrap_or(125))
}

/// Ends this process at once, without unwinding or running exit handlers that belong to the parent.
fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) may be called at any time.
    unsafe { libc::_exit(status) }
}

/// A thread that has been joined runs none of our code any more, but the kernel lists it for a moment (`kernel/exit.c`: its waiter
/// is woken in `exit_mm`, it leaves the list in `exit_notify`). That moment is waited for.
fn single_threaded() -> io::Result<()> {
    let until = Instant::now() + JOINED_LIMIT;
    while fs::read_dir("/proc/self/task")?.count() != 1 {
        if Instant::now() > until {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this process has more than one thread",
            ));
        }
        thread::yield_now();
    }
    Ok(())
}

/// Sets how a signal is taken to its default or to being ignored; never to a handler of ours.
///
/// # Errors
/// Those of `sigaction(2)`, and `InvalidInput` for a handler.
pub(crate) fn set_action(signal: Signal, action: &SigAction) -> io::Result<()> {
    if !matches!(action.handler(), SigHandler::SigDfl | SigHandler::SigIgn) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: neither default nor ignored runs code of this process.
    unsafe { sigaction(signal, action) }?;
    Ok(())
}
