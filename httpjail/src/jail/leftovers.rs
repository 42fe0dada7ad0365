//! What a run that was killed may have left, removed by the next.
//!
//! A jail ends with its supervisor: the namespaces, mounts, programs and processes go with it. What has a name and stays
//! is its cgroup.

use super::bpf::cgroup;

/// Removes what dead runs left; a run that lives is never touched. Returns what could not be removed: no reason not to run.
pub fn remove() -> Vec<String> {
    match cgroup::leftovers() {
        Ok(found) => found
            .into_iter()
            .filter_map(|left| left.remove().err())
            .map(|error| error.to_string())
            .collect(),
        Err(error) => vec![format!("cannot look for what earlier runs left: {error}")],
    }
}
