//! What a run that was killed may have left, removed by the next.
//!
//! A jail ends with its supervisor: the namespaces, mounts, programs and processes go with it. What has a name and stays
//! is its cgroup; and of an attachment the pins, which are to stay as long as the cgroup does.
//!
//! Nobody waits for this housekeeping: what another does just now, or what takes its time to end, is left to the next run.

use std::time::{Duration, Instant};

use super::attach::pins;
use super::steering::cgroup::{self, Claimed, StaleCgroup};

/// How long the killed processes of all dead runs together may take to go.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removes what dead runs left; a run that lives is never touched. Returns what could not be removed: no reason not to run.
pub(crate) fn remove() -> Vec<String> {
    let mut left = pins::remove_stale();
    match cgroup::stale_cgroups() {
        Ok(found) => {
            let claimed: Vec<Claimed> = found.into_iter().filter_map(StaleCgroup::claim).collect();
            // All at once, and then they are waited for.
            claimed.iter().for_each(Claimed::kill);
            let deadline = Instant::now() + PATIENCE;
            let failed = claimed.into_iter().filter_map(|claimed| claimed.remove(deadline).err());
            left.extend(failed.map(|error| error.to_string()));
        }
        Err(error) => left.push(format!("cannot look for stale cgroups: {error}")),
    }
    left
}
