//! The file systems by which the kernel reports and takes commands: /proc, /sys and the mounts below them.
//!
//! What a jailed root writes there would act outside the jail: the kernel starts the programs that `core_pattern`,
//! `uevent_helper` and a format of `binfmt_misc` name. These file systems may be mounted a second time, as below the
//! root of a chroot.

use std::path::Path;

use nix::mount::MsFlags;

use super::operations::{MountError, bind_with, failed, mounted, raw, remount_read_only};

/// Those that are made read-only, wherever they are. Of cgroups the first version alone is left as the host has it.
const ORDERS: [&str; 11] = [
    "sysfs",
    "cgroup",
    "securityfs",
    "selinuxfs",
    "debugfs",
    "tracefs",
    "configfs",
    "efivarfs",
    "pstore",
    "bpf",
    "binfmt_misc",
];

/// A /proc of the jail's own processes, with the host's switches out of reach of a jailed root.
///
/// They are files of root's: whoever is not root, and cannot become it, may read them as he may outside, and nothing more.
/// For him they stay uncovered: in a user namespace of his own, which the sandboxes of agents and of package builders are
/// made of, the kernel gives a /proc only to who can see a whole one (fs/namespace.c, mount_too_revealing). A jailed root
/// has to do without: in such a namespace he would still be the owner of those files.
///
/// In a container the outer /proc has covered parts, and the kernel gives no uncovered one either. Then the outer one
/// stays: it shows processes that signals do not reach, and what is more than their names needs the right to trace them
/// (`/proc/PID/root`, `fd`, `mem`), which nobody has over a process outside of his user namespace (security/commoncap.c,
/// cap_ptrace_access_check). Without such a namespace he may have it.
pub(super) fn own_proc(user_namespace: bool, by_root: bool) -> Result<Option<String>, MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let path = Path::new("/proc");
    let note = match raw("mount", path, Some("proc"), Some("proc"), flags, None) {
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
    let parts = ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"];
    for part in parts.iter().filter(|_| by_root) {
        let part = path.join(part);
        // What cannot be told is no reason to leave it open.
        if part.try_exists().map_err(|source| failed("look at", &part, source))? {
            // With what is mounted below: in a user namespace none of that may be left behind (fs/namespace.c,
            // has_locked_children).
            bind_with(MsFlags::MS_REC, &part, &part)?;
            remount_read_only(&part, flags)?;
        }
    }
    lay_elsewhere(path)?;
    Ok(note)
}

/// Lays the jail's /proc over every other. Of one of which only a part is mounted, that becomes read-only.
fn lay_elsewhere(own: &Path) -> Result<(), MountError> {
    let others = mounted()?;
    let others = others
        .iter()
        .filter(|mount| mount.kind == "proc" && !mount.target.starts_with(own));
    for other in others.filter(|mount| mount.is_seen()) {
        if other.root == Path::new("/") {
            bind_with(MsFlags::MS_REC, own, &other.target)?;
        } else {
            remount_read_only(&other.target, other.flags)?;
        }
    }
    Ok(())
}

/// Makes the others read-only, and all that is mounted below /sys. What another mount lies over is out of reach as it is,
/// and what is not there needs nothing.
pub(super) fn read_only_sys() -> Result<(), MountError> {
    for mount in mounted()? {
        let place = mount.target.starts_with("/sys") || mount.target.starts_with("/cgroup");
        let within = place || ORDERS.contains(&mount.kind.as_str());
        if within && !mount.flags.contains(MsFlags::MS_RDONLY) && mount.is_seen() {
            remount_read_only(&mount.target, mount.flags)?;
        }
    }
    Ok(())
}
