//! Keeps the limit for core dumps as it is.
//!
//! Where `kernel.core_pattern` is a pipe (systemd-coredump, apport), the kernel answers a crash by starting a program
//! as root, outside every jail, with the memory of the crashed program on its standard input. A soft limit of exactly 1
//! prevents that (the kernel has it for handlers that crash themselves); a limit of 0 does not (fs/coredump.c,
//! `coredump_pipe`). So the jail may not set another limit. The filter answers that it was set: programs lower the
//! limit to protect their secrets, and some end when they cannot.

use std::io;

use libc::RLIMIT_CORE;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Ne};
use seccompiler::{SeccompCondition, SeccompRule};

use super::rules::{Rules, other};

/// The calls that answer success and do nothing.
pub(super) fn kept() -> io::Result<Rules> {
    let core = |index| SeccompCondition::new(index, Dword, Eq, u64::from(RLIMIT_CORE));
    // Without a new limit it only asks for the one in force (prlimit(2)).
    let given = SeccompCondition::new(2, Qword, Ne, 0);
    let rule = |conditions: Result<Vec<_>, _>| {
        conditions
            .and_then(SeccompRule::new)
            .map_err(|error| other("write", error))
    };
    Ok(Rules::from([
        (libc::SYS_setrlimit, vec![rule(core(0).map(|core| vec![core]))?]),
        (
            libc::SYS_prlimit64,
            vec![rule(core(1).and_then(|core| Ok(vec![core, given?])))?],
        ),
    ]))
}
