//! Credentials, root and working directory of a single thread, which Linux permits though every library says that they
//! belong to the process. An alarm that interrupts the calls of one thread. And work in two threads at a time.

use std::io;
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// The signal that interrupts.
const ALARM: Signal = Signal::SIGALRM;

/// Runs `other` in a thread of its own beside `here`, and returns what both have returned: then this process has no thread more
/// than before. Where no thread can be made, runs one after the other. A panic of either goes on here.
pub(crate) fn beside<A: Send, B>(other: impl Fn() -> A + Sync, here: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let spawned = thread::Builder::new().spawn_scoped(scope, &other);
        let done = here();
        let others = match spawned {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => other(),
        };
        (others, done)
    })
}

/// Gives this thread a root and a working directory apart from the other threads'.
///
/// # Errors
/// Those of `unshare(2)`.
pub(crate) fn own_directories() -> io::Result<()> {
    Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?)
}

/// Takes the directory as this thread's root.
///
/// # Errors
/// Those of `chroot(2)`; the working directory has changed then.
pub(crate) fn change_root(root: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::fchdir(root)?;
    Ok(nix::unistd::chroot(".")?)
}

/// Lets the capabilities stay as they are when ids change.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
pub(crate) fn keep_capabilities() -> io::Result<()> {
    let bits = libc::SECBIT_NO_SETUID_FIXUP as libc::c_ulong;
    // SAFETY: the call takes integers.
    let done = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) };
    Ok(Errno::result(done).map(drop)?)
}

/// Takes these as this thread's effective user, group and groups: by system calls, for the libraries' own calls do it in all
/// threads.
///
/// # Errors
/// Those of `setgroups(2)`, `setresgid(2)` and `setresuid(2)`; some of it may be done then.
pub(crate) fn act_as(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    const SAME: u32 = u32::MAX;
    // SAFETY: the kernel reads as many groups as there are.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: the call takes integers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, SAME, gid, SAME) })?;
    // SAFETY: the call takes integers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, SAME, uid, SAME) })?;
    // The kernel sets it again with the ids, to what fs.suid_dumpable says.
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// Interrupts the calls of the thread that made it, again and again while it is set.
#[derive(Debug)]
pub(crate) struct Alarm(libc::timer_t);

impl Alarm {
    /// Makes one for this thread.
    ///
    /// # Errors
    /// Those of `sigaction(2)` and `timer_create(2)`.
    pub(crate) fn new() -> io::Result<Self> {
        extern "C" fn nothing(_: libc::c_int) {}
        let action = nix::sys::signal::SigAction::new(
            nix::sys::signal::SigHandler::Handler(nothing),
            // Without SA_RESTART: to interrupt is all that it is for.
            nix::sys::signal::SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing.
        unsafe { nix::sys::signal::sigaction(ALARM, &action) }?;
        pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(ALARM)), None)?;
        // SAFETY: all zeroes is a valid value of this plain structure.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = ALARM as libc::c_int;
        event.sigev_notify_thread_id = nix::unistd::gettid().as_raw();
        let mut timer = std::ptr::null_mut();
        // SAFETY: both structures live until the call returns.
        Errno::result(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
        Ok(Alarm(timer))
    }

    /// Interrupts each time that this much has passed; zero is never.
    ///
    /// # Errors
    /// Those of `timer_settime(2)`.
    pub(crate) fn every(&self, period: Duration) -> io::Result<()> {
        // SAFETY: all zeroes is a valid value of this plain structure.
        let mut period_of: libc::timespec = unsafe { std::mem::zeroed() };
        period_of.tv_sec = period.as_secs() as _;
        period_of.tv_nsec = period.subsec_nanos() as _;
        let times = libc::itimerspec {
            it_interval: period_of,
            it_value: period_of,
        };
        // SAFETY: the timer is this value's own, and the structure lives until the call returns.
        let done = unsafe { libc::timer_settime(self.0, 0, &raw const times, std::ptr::null_mut()) };
        Ok(Errno::result(done).map(drop)?)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is this value's own, and nobody has it after this.
        unsafe { libc::timer_delete(self.0) };
    }
}
