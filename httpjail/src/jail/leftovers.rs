//! What a run that was killed may have left, removed by the next.
//!
//! A jail ends with its supervisor: the namespaces, mounts, programs and processes go with it. What has a name and stays
//! is its cgroup.

use super::bpf::cgroup;

/// Removes what dead runs left. A run that lives is never touched; a failure is told, and is no reason not to run.
pub fn remove() -> Vec<String> {
    cgroup::remove_leftovers()
}
