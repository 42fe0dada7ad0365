//! Keeps core dumps of jailed programs away from programs of the host.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the kernel takes for "no core dump, not even by a pipe" (fs/coredump.c, `coredump_pipe`).
const NONE: u64 = 1;

/// Sets this process's own limit, which all that it starts from now on inherits, and which the jail may not change
/// ([`crate::jail::sandbox::filter`]).
///
/// # Errors
/// Those of `setrlimit(2)`: a hard limit of 0 is raised by CAP_SYS_RESOURCE alone.
pub(super) fn limit() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, NONE, NONE)?)
}

/// What a crash in the jail may still do outside of it, in words for the user.
pub(super) fn note(limited: &io::Result<()>) -> Option<String> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    match (pattern.trim_end().chars().next(), limited) {
        // The kernel connects whatever the limit is (fs/coredump.c, `coredump_socket`).
        (Some('@'), _) => {
            Some("the host's core dump handler receives the memory of programs that crash in the jail".to_owned())
        }
        (Some('|'), Err(error)) => Some(format!(
            "the host's core dump handler receives the memory of programs that crash in the jail: the limit for core dumps is {:?} and \
             cannot be made 1: {error}",
            getrlimit(Resource::RLIMIT_CORE).map_or(0, |(_, hard)| hard)
        )),
        _ => None,
    }
}
