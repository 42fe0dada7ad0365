//! Removes what a killed run may have left.
//!
//! A jail ends with its supervisor: the kernel removes its namespaces, mounts, programs and processes. What stays is
//! what has a name: the cgroup, and the pins of an attachment, which must stay as long as their cgroup does.
//!
//! No run waits for this: what another process is removing, or what takes its time to end, is left to the next run.

use std::time::{Duration, Instant};

use super::attach::{again, overlays, pins};
use super::steering::cgroup::{self, Claimed, StaleCgroup};

/// How long the killed processes of all dead runs together may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many cgroups of other PID namespaces a run removes: a killed container may have left thousands.
const MOST_ELSEWHERE: usize = 100;

/// Removes what dead runs left, and never touches a run that lives. Returns what could not be removed, which is no reason
/// not to run.
pub(crate) fn remove() -> Vec<String> {
    let mut left = pins::remove_stale();
    again::forget_dead();
    overlays::forget_dead();
    match cgroup::stale_cgroups() {
        Ok(found) => {
            let (elsewhere, dead): (Vec<_>, Vec<_>) = found.into_iter().partition(StaleCgroup::is_elsewhere);
            let claimed: Vec<Claimed> = dead.into_iter().filter_map(StaleCgroup::claim).collect();
            // All are killed first, and then waited for.
            claimed.iter().for_each(Claimed::kill);
            let deadline = Instant::now() + PATIENCE;
            let failed = claimed.into_iter().filter_map(|claimed| claimed.remove(deadline).err());
            left.extend(failed.map(|error| error.to_string()));
            // One after the other: each is locked and open while it is removed.
            let empty = elsewhere
                .into_iter()
                .filter_map(StaleCgroup::claim)
                .take(MOST_ELSEWHERE);
            empty.for_each(|claimed| drop(claimed.remove(deadline)));
        }
        Err(error) => left.push(format!("cannot look for stale cgroups: {error}")),
    }
    left
}
