//! The jail's view of the cgroup tree: its own part, and nothing above it.
//!
//! In a user namespace the tree can be mounted again, writable, from the cgroup in which the cgroup namespace was
//! created (cgroup_namespaces(7)). So the jail's namespace is created in a cgroup of its own where possible, and nested
//! ones lie below that. A descriptor of any directory of a visible tree, read-only or not, is enough to be born there
//! (CLONE_INTO_CGROUP), so the host's mounts are covered.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

use super::operations::{MountError, failed, raw, remount_read_only};
use crate::jail::sandbox::mountinfo;

/// Makes the cgroup namespace and covers the host's mounts of cgroup v2, all in the calling process's own namespaces. Returns
/// what a command that is `root` may write all the same.
pub(super) fn arrange(root: bool) -> Result<Option<String>, MountError> {
    let own = "/proc/self/ns/cgroup";
    if fs::symlink_metadata(own).is_err() {
        // A kernel without cgroups.
        return Ok(None);
    }
    match unshare(CloneFlags::CLONE_NEWCGROUP) {
        // user.max_cgroup_namespaces is 0: then nested ones are refused as well.
        Ok(()) | Err(Errno::ENOSPC) => {}
        Err(error) => return Err(failed("separate the cgroups of", own.as_ref(), error.into())),
    }
    let table = "/proc/self/mountinfo";
    let table = fs::read(table).map_err(|error| failed("read", table.as_ref(), error))?;
    let mounts = mountinfo::parse(&String::from_utf8_lossy(&table));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for mount in mounts.iter().filter(|mount| mount.kind == "cgroup2") {
        let target = &mount.target;
        // Two of one tree may not lie on each other (fs/namespace.c, do_add_mount). And it covers by itself, should the other
        // be refused.
        match raw(
            "cover",
            target,
            Some("tmpfs"),
            Some("tmpfs"),
            flags,
            Some("size=4k,mode=0555"),
        ) {
            // Below a mount further down the list: out of the jail's sight already.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => continue,
            covered => covered?,
        }
        if let Err(error) = raw("mount", target, Some("cgroup2"), Some("cgroup2"), flags, None) {
            tracing::debug!("the jail sees no cgroups: {error}");
        }
        remount_read_only(target, flags)?;
    }
    // Their files are root's, and a namespace made in the caller's place shows all that lies below it.
    let first_version = root && mounts.iter().any(|mount| mount.kind == "cgroup");
    let note = "cgroup v1 is mounted: a command that is root may write there what its caller may";
    Ok(first_version.then(|| note.to_owned()))
}
