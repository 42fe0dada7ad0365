//! The file systems in which the kernel speaks of itself and takes orders: /proc and /sys.

use std::path::Path;

use nix::mount::MsFlags;

use super::{MountError, bind_with, mounted, raw, remount_read_only};

/// A /proc of the jail's own processes, with the host's switches out of reach of a jailed root.
///
/// They are files of root's: whoever is not root, and cannot become it, may read them as he may outside, and nothing more.
/// For him they stay uncovered: in a user namespace of his own, which the sandboxes of agents and of package builders are
/// made of, the kernel gives a /proc only to who can see a whole one (fs/namespace.c, mount_too_revealing). A jailed root
/// has to do without: in such a namespace he would still be the owner of those files.
///
/// In a container the outer /proc has covered parts, and the kernel gives no uncovered one either. Then the outer one stays: it shows processes that signals do not reach, and what is more than
/// their names needs the right to trace them (`/proc/PID/root`, `fd`, `mem`), which nobody has over a process outside of
/// his user namespace (security/commoncap.c, cap_ptrace_access_check). Without such a namespace he may have it.
pub(super) fn own_proc(user_namespace: bool, by_root: bool) -> Result<Option<String>, MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let path = Path::new("/proc");
    let mounted = raw("mount", path, Some("proc"), Some("proc"), flags, None);
    let note = match mounted {
        Ok(()) => None,
        Err(error) if user_namespace => {
            // What a user may write about his other processes (oom_score_adj, ...) needs no such right.
            bind_with(MsFlags::MS_REC, path, path)?;
            remount_read_only(path, flags)?;
            Some(format!(
                "{error}; the jail sees the outer /proc, read-only, and in it the names of all processes"
            ))
        }
        Err(error) => return Err(error),
    };
    if !by_root {
        return Ok(note);
    }
    for part in ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"] {
        let part = path.join(part);
        if part.exists() {
            // With what is mounted below: in a user namespace none of that may be left behind (fs/namespace.c,
            // has_locked_children).
            bind_with(MsFlags::MS_REC, &part, &part)?;
            remount_read_only(&part, flags)?;
        }
    }
    Ok(note)
}

/// /sys read-only with all that is mounted below it, the cgroup trees of the first version among them. What another mount lies over is out of
/// reach as it is, and what is not there needs nothing.
pub(super) fn read_only_sys() -> Result<(), MountError> {
    for mount in mounted()? {
        let within = mount.target.starts_with("/sys") || mount.target.starts_with("/cgroup");
        if within && !mount.flags.contains(MsFlags::MS_RDONLY) && mount.is_seen() {
            remount_read_only(&mount.target, mount.flags)?;
        }
    }
    Ok(())
}
