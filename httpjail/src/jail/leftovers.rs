//! What a run that was killed may have left, removed by the next.
//!
//! A jail ends with its supervisor: the namespaces, mounts, programs and processes go with it. What has a name and stays
//! is its cgroup; and of an attachment the pins, which are to stay as long as the cgroup does.

use super::attach::pins;
use super::bpf::cgroup;

/// Removes what dead runs left; a run that lives is never touched. Returns what could not be removed: no reason not to run.
pub fn remove() -> Vec<String> {
    let mut left = pins::remove_stale();
    match cgroup::leftovers() {
        Ok(found) => left.extend(
            found
                .into_iter()
                .filter_map(|left| left.remove().err())
                .map(|error| error.to_string()),
        ),
        Err(error) => left.push(format!("cannot look for what earlier runs left: {error}")),
    }
    left
}
