//! What the host's side tells about a container's description: whose namespaces, which files.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::root::refusal;
use super::state::State;
use crate::failure::Failure;
use crate::jail::attach;
use crate::oci::config;
use crate::oci::mounts::Source;
use crate::oci::namespaces::Host;

/// The host, for a container under this policy.
struct ThisHost {
    policy: Option<String>,
}

/// Refuses what cannot be held, and takes away what could undo the hold. Returns what was taken away.
///
/// # Errors
/// What cannot be held.
pub(super) fn hold(container: &mut Value, policy: Option<&str>) -> Result<Vec<String>, Failure> {
    let host = ThisHost {
        policy: policy.map(str::to_owned),
    };
    config::hold(container, &host, &look).map_err(refusal)
}

/// Whether a namespace is that of process 1, or our own.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_hosts_network(path: &Path) -> Result<bool, String> {
    let number = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let theirs = number(path).map_err(|error| error.to_string())?;
    let own = number(Path::new("/proc/self/ns/net")).map_err(|error| error.to_string())?;
    // Where process 1 is hidden from us, we are in a container of our own.
    let first = number(Path::new("/proc/1/ns/net")).ok();
    Ok(theirs == own || Some(theirs) == first)
}

/// Returns the cgroup of a process, as a path of the file system.
///
/// # Errors
/// When it is in none of version 2.
pub(super) fn cgroup_of(pid: u32) -> Result<PathBuf, Failure> {
    attach::cgroup_of(pid.cast_signed()).map_err(|failure| Failure {
        hint: Some("use cgroups of version 2, and a runtime that knows them".into()),
        ..failure
    })
}

impl Host for ThisHost {
    fn is_hosts_network(&self, path: &str) -> Result<bool, String> {
        is_hosts_network(Path::new(path))
    }

    fn is_held(&self, path: &str) -> bool {
        let number = |path: &Path| fs::metadata(path).map(|found| found.ino()).ok();
        let pid = path
            .strip_prefix("/proc/")
            .and_then(|rest| rest.strip_suffix("/ns/pid"));
        let Some(pid) = pid.and_then(|pid| pid.parse().ok()) else {
            return false;
        };
        // The host's own, by way of some process.
        if number(Path::new(path)) == number(Path::new("/proc/1/ns/pid")) {
            return false;
        }
        let Ok(cgroup) = cgroup_of(pid) else {
            return false;
        };
        State::all_held()
            .iter()
            .any(|held| cgroup.starts_with(&held.cgroup) && held.policy == self.policy)
    }
}

/// Looks at what a container is to see of the host. What is not there yet is made by the engine, so the nearest directory counts.
fn look(path: &Path) -> Option<Source> {
    let whole = std::path::absolute(path).ok()?;
    let real = whole.ancestors().find_map(|above| fs::canonicalize(above).ok())?;
    let is_socket = fs::metadata(&real).is_ok_and(|found| found.file_type().is_socket());
    let rest = whole.ancestors().find(|above| fs::canonicalize(above).is_ok())?;
    let rest = whole.strip_prefix(rest).ok()?;
    Some(Source {
        path: match rest.as_os_str().is_empty() {
            true => real,
            false => real.join(rest),
        },
        is_socket,
    })
}
