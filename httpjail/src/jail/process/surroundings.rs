//! What a child has of its parent, given to a command whose parent is not the caller: umask, limits, ignored signals.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::stat::{Mode, umask};

use crate::jail::protocol::pool::Surroundings;
use crate::sys::clone::set_action;

/// The limits, in the order in which they are sent. That of core dumps is the jail's own, and is not among them.
const LIMITS: [Resource; 15] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_LOCKS,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_RSS,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_RTTIME,
    Resource::RLIMIT_SIGPENDING,
    Resource::RLIMIT_STACK,
];

/// Whom httpjail itself ignores, and the two that nobody can.
const OURS: [Signal; 4] = [Signal::SIGPIPE, Signal::SIGXFSZ, Signal::SIGKILL, Signal::SIGSTOP];

/// Those of this process. `pipes` are the inherited ones.
///
/// # Errors
/// Those of reading them.
pub(crate) fn own(pipes: &[i32]) -> io::Result<Surroundings> {
    let mask = umask(Mode::empty());
    umask(mask);
    let limits = LIMITS.iter().map(|limit| Ok(getrlimit(*limit)?));
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let is_ignored = |signal: &Signal| ignored.unwrap_or(0) & 1 << (*signal as u32 - 1) != 0;
    let signals = Signal::iterator().filter(|signal| is_ignored(signal) && !OURS.contains(signal));
    Ok(Surroundings {
        umask: mask.bits(),
        limits: limits.collect::<io::Result<_>>()?,
        ignored: signals.map(|signal| signal as i32).collect(),
        pipes: pipes.to_vec(),
    })
}

/// Gives this process the mask and the signals.
///
/// # Errors
/// Those of the system calls.
pub(super) fn take(from: &Surroundings) -> io::Result<()> {
    umask(Mode::from_bits_truncate(from.umask));
    for signal in Signal::iterator().filter(|signal| !OURS.contains(signal)) {
        let handler = match from.ignored.contains(&(signal as i32)) {
            true => SigHandler::SigIgn,
            false => SigHandler::SigDfl,
        };
        set_action(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty()))?;
    }
    Ok(())
}

/// Gives this process the limits, but none that is above its own: who sends them may have made them up.
///
/// # Errors
/// Those of the system calls.
pub(super) fn limit(from: &Surroundings) -> io::Result<()> {
    for (limit, (soft, hard)) in LIMITS.iter().zip(&from.limits) {
        let (now, most) = getrlimit(*limit)?;
        let (soft, hard) = ((*soft).min(*hard).min(most), (*hard).min(most));
        if (soft, hard) != (now, most) {
            setrlimit(*limit, soft, hard)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_has_every_limit() {
        let own = own(&[7]).expect("read");
        assert_eq!(own.limits.len(), LIMITS.len());
        assert_eq!(own.pipes, [7]);
        assert!(!own.ignored.contains(&(Signal::SIGPIPE as i32)), "Rust's own");
    }
}
