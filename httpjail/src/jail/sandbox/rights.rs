//! Gives up capabilities, user and groups, and every way to get them back.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::user_identity::UserIdentity;
use crate::sys::thread;

/// What a root command keeps: enough to install packages and serve on port 80. Everything else could undo the jail or
/// reach the machine below it (NET_ADMIN, NET_RAW, SYS_ADMIN, BPF, PERFMON, SYS_PTRACE, SYS_MODULE, SYS_RAWIO, MKNOD,
/// SYS_BOOT, DAC_READ_SEARCH with its open_by_handle_at(2), ...).
const ROOT_KEEPS: [Capability; 10] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_NICE,
];

/// Becomes the user for good, with no capability beyond those a jailed root keeps, and no way to gain one by exec.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn give_up(identity: &UserIdentity) -> io::Result<()> {
    let keeps = if identity.uid.is_root() {
        CapsHashSet::from(ROOT_KEEPS)
    } else {
        CapsHashSet::new()
    };
    drop_bounding(&keeps)?;
    if identity.switched {
        become_user(identity.uid, identity.gid, &identity.groups)?;
    } else {
        // The user namespace of an ordinary user has no other user, and setgroups(2) is denied.
        check_user(identity.uid, identity.gid)?;
    }
    limit_to(&keeps)?;
    prctl::set_no_new_privs().map_err(|error| step("set no_new_privs", error))
}

/// Returns true if this process may become another user, and so may map every user into a namespace of its own.
pub(crate) fn may_change_user() -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID)
}

/// Returns which capabilities this process lacks to load the cgroup programs and to enter a jail's network namespace. (CAP_BPF and
/// CAP_PERFMON would do for the first; for the second nothing less than CAP_SYS_ADMIN does.)
pub(crate) fn missing_for_programs() -> Vec<&'static str> {
    let needed = [
        (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (Capability::CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    let lacks = |capability| !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let missing = needed.into_iter().filter(|(capability, _)| lacks(*capability));
    missing.map(|(_, name)| name).collect()
}

/// Keeps the user, without any capability and without a way to gain one.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn stay_nobody() -> io::Result<()> {
    limit_to(&CapsHashSet::new())?;
    prctl::set_no_new_privs().map_err(|error| step("set no_new_privs", error))
}

/// Becomes the caller for good, without any capability (a caller who is root keeps the number alone) and without a way to
/// gain one.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn become_caller(identity: &UserIdentity) -> io::Result<()> {
    if identity.switched {
        drop_bounding(&CapsHashSet::new())?;
        become_user(identity.uid, identity.gid, &identity.groups)?;
    } else if may_change_user() {
        drop_bounding(&CapsHashSet::new())?;
    }
    stay_nobody()
}

/// Becomes a user without any right, for the process that reads what the jail sends.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn become_nobody(uid: Uid, gid: Gid) -> io::Result<()> {
    drop_bounding(&CapsHashSet::new())?;
    become_user(uid, gid, &[gid])?;
    limit_to(&CapsHashSet::new())?;
    prctl::set_no_new_privs().map_err(|error| step("set no_new_privs", error))
}

/// Keeps only the capability that the jail's init needs once the command runs: to send signals.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn keep_only_kill() -> io::Result<()> {
    let keeps = CapsHashSet::from([Capability::CAP_KILL]);
    // The thread may have bounded itself before, by [`keep_for_sockets`], and have given up the right to do it again.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(true) {
        drop_bounding(&keeps)?;
    }
    limit_to(&keeps)
}

/// Keeps of the own capabilities only those by which the jail's init makes the connections of others: to take their sockets, to
/// see which network and which file those are of, to take their root and, where there are `users`, their ids and permissions.
///
/// # Errors
/// Naming a right that is missing, or the step that failed; then the process must end.
pub(crate) fn keep_for_sockets(users: bool) -> io::Result<()> {
    let mut keeps = CapsHashSet::from([
        Capability::CAP_SYS_PTRACE,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_SYS_CHROOT,
    ]);
    if users {
        keeps.extend([
            Capability::CAP_SETUID,
            Capability::CAP_SETGID,
            Capability::CAP_DAC_OVERRIDE,
        ]);
        thread::keep_capabilities().map_err(|error| step("keep the capabilities", error))?;
    }
    let held = caps::read(None, CapSet::Permitted).map_err(|error| step("read the capabilities", error))?;
    if let Some(missing) = keeps.difference(&held).map(Capability::to_string).min() {
        return Err(io::Error::other(format!("{missing} is missing")));
    }
    keeps.insert(Capability::CAP_KILL);
    drop_bounding(&keeps)?;
    limit_to(&keeps)
}

/// Keeps only the capability to mark sockets.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn keep_only_marks() -> io::Result<()> {
    let keeps = CapsHashSet::from([Capability::CAP_NET_ADMIN]);
    drop_bounding(&keeps)?;
    limit_to(&keeps)
}

/// Keeps no capability.
///
/// # Errors
/// The step that failed. Then the process must end.
pub(crate) fn keep_nothing() -> io::Result<()> {
    let keeps = CapsHashSet::new();
    drop_bounding(&keeps)?;
    limit_to(&keeps)
}

fn become_user(uid: Uid, gid: Gid, groups: &[Gid]) -> io::Result<()> {
    setgroups(groups).map_err(|error| step("set the groups", error))?;
    setresgid(gid, gid, gid).map_err(|error| step("set the group", error))?;
    setresuid(uid, uid, uid).map_err(|error| step("set the user", error))?;
    check_user(uid, gid)
}

fn check_user(uid: Uid, gid: Gid) -> io::Result<()> {
    // Elsewhere a kernel or library reported success and did nothing, so this checks.
    let (users, groups) = (getresuid()?, getresgid()?);
    let right = [users.real, users.effective, users.saved].iter().all(|id| *id == uid)
        && [groups.real, groups.effective, groups.saved]
            .iter()
            .all(|id| *id == gid);
    if right {
        Ok(())
    } else {
        Err(io::Error::other("the user did not change"))
    }
}

/// Drops from the bounding set all that is not kept. A capability too new for the crate to name stays in it, but cannot be
/// had: it is not in the permitted set, and no_new_privs lets no exec add to that.
///
/// A process without CAP_SETPCAP cannot shrink that set. That does no harm: without new privileges an exec adds nothing to
/// the permitted set, whatever the bounding set holds (capabilities(7)).
fn drop_bounding(keeps: &CapsHashSet) -> io::Result<()> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        return Ok(());
    }
    for capability in caps::runtime::thread_all_supported() {
        if !keeps.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).map_err(|error| step("drop a capability", error))?;
        }
    }
    Ok(())
}

fn limit_to(keeps: &CapsHashSet) -> io::Result<()> {
    // Under setresuid from root to another user the kernel has emptied them already (capabilities(7)).
    let held = caps::read(None, CapSet::Permitted).map_err(|error| step("read the capabilities", error))?;
    let keeps: CapsHashSet = keeps.intersection(&held).copied().collect();
    caps::clear(None, CapSet::Ambient)
        .and_then(|()| caps::set(None, CapSet::Inheritable, &CapsHashSet::new()))
        .and_then(|()| caps::set(None, CapSet::Effective, &keeps))
        .and_then(|()| caps::set(None, CapSet::Permitted, &keeps))
        .map_err(|error| step("limit the capabilities", error))
}

fn step(what: &str, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("cannot {what}: {error}"))
}
