//! The cgroup of a process, unless more is in it than can be meant.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::jail::process_info::lookup;

const OWN_CGROUP: &str = "give the process a cgroup of its own (systemd-run --scope COMMAND), or name the cgroup with --cgroup if \
                          all of it is meant";

/// Returns the cgroup of the process `pid`.
///
/// # Errors
/// When there is no such process, it is in the root cgroup, or in one with a whole login or with whom httpjail was started by.
pub(super) fn find(pid: i32, mount: &Path) -> Result<PathBuf, Failure> {
    let path = of(pid, mount)?;
    let ours = std::iter::successors(Some(std::process::id()), |pid| lookup::parent(*pid));
    for own in ours {
        if own != pid.unsigned_abs() && of(own.cast_signed(), mount).is_ok_and(|inside| inside.starts_with(&path)) {
            return Err(refused(
                pid,
                &path,
                &format!("httpjail's own caller (process {own}) too"),
            ));
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // systemd-logind's names: all that a user started at one login, or that the user's own systemd runs.
    if name.starts_with("session-") && name.ends_with(".scope") || name.starts_with("user@") {
        return Err(refused(pid, &path, "a whole login"));
    }
    Ok(path)
}

/// Returns the cgroup of a process as its path in the file system.
pub(super) fn of(pid: i32, mount: &Path) -> Result<PathBuf, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| Failure {
        hint: Some("a process of a container has another number outside of it: --container NAME".into()),
        ..Failure::new(format!("no such process: {pid}"))
    })?;
    let within = text.lines().find_map(|line| line.strip_prefix("0::/"));
    match within {
        None => Err(Failure::new(format!("process {pid} is in no cgroup of version 2"))),
        Some("") => Err(Failure {
            hint: Some(OWN_CGROUP.into()),
            ..Failure::new(format!(
                "process {pid} is in the root cgroup, which contains the whole system"
            ))
        }),
        Some(outside) if outside.starts_with("..") => Err(Failure::new(format!(
            "the cgroup of process {pid} cannot be seen from here: it is outside of this cgroup namespace"
        ))),
        Some(within) => Ok(mount.join(within.trim_end_matches(" (deleted)"))),
    }
}

fn refused(pid: i32, path: &Path, what: &str) -> Failure {
    Failure {
        hint: Some(OWN_CGROUP.into()),
        ..Failure::new(format!("{}, the cgroup of process {pid}, holds {what}", path.display()))
    }
}
