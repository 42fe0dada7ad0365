//! A pod is held at its own cgroup, by one attachment for all of its containers: the sandbox's hook starts it, and the hooks of the others
//! look whether it holds.
//!
//! The containers reach each other's `localhost` then, which one attachment to each would cut. The cgroup must be that of this pod alone,
//! or others would get its policy.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::state::{Held, State};
use crate::failure::Failure;
use crate::jail::attach;
use crate::oci::pods::is_pods;

/// How long the attachment of a sandbox that is gone may take to end.
const LIMIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(20);

/// Returns the cgroup of the pod whose sandbox has this cgroup, with its number.
///
/// # Errors
/// Why the pod cannot be held as one, in words that go on after "because".
pub(super) fn of_sandbox(sandbox: &Path) -> Result<(PathBuf, u64), String> {
    let above = sandbox.parent().unwrap_or(Path::new("/"));
    let name = above.file_name().unwrap_or_default().to_string_lossy();
    if !is_pods(&name) {
        return Err(format!("{} is not the cgroup of one pod", above.display()));
    }
    let unreadable = |error| format!("{} cannot be read: {error}", above.display());
    let within = attach::processes(sandbox).map_err(unreadable)?;
    let foreign = attach::processes(above).map_err(unreadable)?;
    if let Some(foreign) = foreign.iter().find(|pid| !within.contains(pid)) {
        return Err(format!(
            "process {foreign} in {} is none of its sandbox",
            above.display()
        ));
    }
    let number = fs::metadata(above).map_err(unreadable)?.ino();
    let late = Instant::now() + LIMIT;
    while attach::is_attended(number)? {
        if Instant::now() > late {
            return Err(format!("{} is attached to already", above.display()));
        }
        sleep(TICK);
    }
    Ok((above.to_owned(), number))
}

/// Returns how a container with this cgroup and this process is held by the attachment of its pod; `None` if each container of the pod
/// is held by itself.
///
/// # Errors
/// When the pod is not held, or not as this container is to be.
pub(super) fn join(
    sandbox: &State,
    cgroup: &Path,
    pid: u32,
    policy: Option<&str>,
) -> Result<Option<(PathBuf, u64)>, Failure> {
    let refused = |what: String| Failure {
        hint: Some("remove the pod, and start it again with this runtime".into()),
        ..Failure::new(format!("the container's pod {what}"))
    };
    let held: Held = sandbox
        .held()
        .ok_or_else(|| refused("is not held: its sandbox is gone, or was not created by this runtime".into()))?;
    if held.policy.as_deref() != policy {
        return Err(refused(format!(
            "has another policy ({}, not {}): containers of one pod have one",
            held.policy.as_deref().unwrap_or("deny everything"),
            policy.unwrap_or("deny everything")
        )));
    }
    let Some(pod) = held.pod else { return Ok(None) };
    if !cgroup.starts_with(&pod.cgroup) || !attach::is_at(&pod.cgroup, pod.id) {
        return Err(refused(format!(
            "is held at {}, which the container's cgroup {} is not below",
            pod.cgroup.display(),
            cgroup.display()
        )));
    }
    let namespace = format!("/proc/{pid}/ns/net");
    let network = fs::metadata(&namespace)
        .map_err(|error| Failure::new(format!("cannot look at {namespace}: {error}")))?
        .ino();
    if network != pod.network {
        return Err(refused("has another network than this container".into()));
    }
    match attach::is_attended(pod.id) {
        Ok(true) => Ok(Some((pod.cgroup, pod.id))),
        Ok(false) => Err(refused(format!(
            "is not held any more: the `httpjail attach` of {} has ended, and the pod is closed",
            pod.cgroup.display()
        ))),
        Err(error) => Err(Failure::new(error)),
    }
}
