//! What a process that was just forked does before it goes its own way.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{dup2_stdin, setsid};

use crate::sys::fds;

/// Has this process share nothing with its parent but its output and these descriptors: its input is empty, it has a session of its
/// own, and no signal is blocked. It dies with its parent; a change of user clears that (kernel/cred.c, commit_creds).
///
/// # Errors
/// Those of the system calls; then the process must end.
pub(crate) fn set_apart(keep: &[RawFd]) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    dup2_stdin(File::open("/dev/null")?)?;
    fds::close_from(3, keep)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    setsid()?;
    Ok(())
}
