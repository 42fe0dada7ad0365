//! Reads from the kernel which users have processes.

use std::io;

/// Whether the kernel knows a process of this user, as the calling process's user namespace numbers them
/// (`getpriority(2)`). Those of PID namespaces that cannot be seen from here are not counted. One look-up where there is none.
///
/// # Errors
/// Those of the call, but for the one that says that there is none.
pub(crate) fn has_processes(user: u32) -> io::Result<bool> {
    // SAFETY: the call takes integers. The raw one, whose answer is never negative but for an error.
    let found = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_USER, user) };
    if found >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::has_processes;

    #[test]
    fn a_user_is_seen_as_long_as_something_runs() {
        assert!(has_processes(nix::unistd::getuid().as_raw()).unwrap());
        assert!(!has_processes(2_140_000_001).unwrap());
    }
}
