//! What `httpjail runtime hook` tells the attachment that it starts: that an OCI runtime has made the container, and starts its
//! process when the attachment holds.

use std::path::PathBuf;

/// Names the container's directory.
pub(crate) const VARIABLE: &str = "HTTPJAIL_BORN";
/// In that directory, the resolv.conf(5) that the container will see. Its process still sees the host's.
pub(crate) const RESOLV_CONF: &str = "resolv.conf";

/// Returns the directory of the container, or `None` where processes run already.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}
