//! What `httpjail runtime hook` tells the attachment that it starts: that an OCI runtime has made the container, and starts its
//! process when the attachment holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Names the container's directory.
pub(crate) const VARIABLE: &str = "HTTPJAIL_BORN";
/// In that directory, the resolv.conf(5) that the container will see. Its process still sees the host's.
pub(crate) const RESOLV_CONF: &str = "resolv.conf";

/// In that directory, where the container is the sandbox of a pod that is held as one: its own cgroup, behind the number of that.
const SANDBOX: &str = "sandbox";

/// Returns the directory of the container, or `None` where processes run already.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// Remembers in the directory whose end is the end of the attachment: that of the cgroup of this path and number.
///
/// # Errors
/// Those of writing.
pub(crate) fn write_sandbox(directory: &Path, cgroup: &Path, id: u64) -> io::Result<()> {
    fs::write(directory.join(SANDBOX), format!("{id} {}", cgroup.display()))
}

/// Returns with what cgroup the attachment ends, if that is not its own.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn sandbox() -> Result<Option<(PathBuf, u64)>, Failure> {
    let Some(file) = directory().map(|directory| directory.join(SANDBOX)) else {
        return Ok(None);
    };
    let wrong = |error: &str| Failure::new(format!("cannot read {}: {error}", file.display()));
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| wrong(&error.to_string()))?,
    };
    let parts = text
        .split_once(' ')
        .and_then(|(id, path)| Some((path.into(), id.parse().ok()?)));
    parts.map(Some).ok_or_else(|| wrong("expected a number and a path"))
}
