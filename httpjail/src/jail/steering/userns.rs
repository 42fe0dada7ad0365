//! User namespaces, which a user without root needs for a jail: tells whether this host permits them, and what to
//! change.
//!
//! Some hosts refuse to create the namespace; others permit that and refuse what is done in it (AppArmor). The error
//! numbers say little about either, so this module reads the switches themselves.

use std::fs;

use nix::unistd::geteuid;

use super::SteeringError;
use crate::jail::sandbox::rights;

/// A switch of the host that forbids: its file, the value that does, what to say, how to allow.
struct Switch {
    file: &'static str,
    forbids: fn(i64) -> bool,
    says: &'static str,
    fix: &'static str,
}

/// Read before anything is tried.
const NEVER_MADE: [Switch; 2] = [
    Switch {
        file: "/proc/sys/user/max_user_namespaces",
        forbids: |value| value == 0,
        says: "this host allows no user namespace (user.max_user_namespaces is 0)",
        fix: "sudo sysctl -w user.max_user_namespaces=15000 (and in /etc/sysctl.d/ to keep it), or run httpjail with sudo",
    },
    Switch {
        file: "/proc/sys/kernel/unprivileged_userns_clone",
        forbids: |value| value == 0,
        says: "this host allows user namespaces to root only (kernel.unprivileged_userns_clone is 0)",
        fix: "sudo sysctl -w kernel.unprivileged_userns_clone=1 (and in /etc/sysctl.d/ to keep it), or run httpjail with sudo",
    },
];

/// Looked at when a step in the namespace was refused.
const MADE_AND_BOUND: Switch = Switch {
    file: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    forbids: |value| value != 0,
    says: "",
    fix: "AppArmor lets a user namespace be made and refuses what is done in it \
          (kernel.apparmor_restrict_unprivileged_userns is 1): give httpjail a profile that allows `userns,` in \
          /etc/apparmor.d/, or sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run httpjail with sudo",
};

const FILTERED: &str = "a system call filter is in force, as in a container: allow user namespaces there (docker and podman: \
                        --security-opt seccomp=unconfined), or give the container CAP_SYS_ADMIN and CAP_NET_ADMIN";

/// Root may map itself only with this one (user_namespaces(7), "Defining user and group ID mappings").
const BOUND_ROOT: &str = "this root has no capabilities: start httpjail as an ordinary user, or give the container \
                          CAP_SETUID, CAP_SETGID and CAP_SETFCAP";

const ALONE: &str = "this root is of a user namespace that knows no other user (as after `unshare -Ur`): start httpjail outside of \
                     it, as yourself";

impl Switch {
    fn is_set(&self) -> bool {
        // A kernel without the switch does not forbid by it.
        let value = fs::read_to_string(self.file)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        value.is_some_and(self.forbids)
    }
}

/// Why nobody but root can make one here, if that can be told beforehand.
pub(crate) fn forbidden() -> Option<SteeringError> {
    if fs::symlink_metadata("/proc/self/ns/user").is_err() {
        let message = "this kernel has no user namespaces (CONFIG_USER_NS)";
        return Some(SteeringError {
            hint: Some("run httpjail with sudo".into()),
            ..SteeringError::new(message)
        });
    }
    let switch = NEVER_MADE.iter().find(|switch| switch.is_set())?;
    Some(SteeringError {
        hint: Some(switch.fix.into()),
        ..SteeringError::new(switch.says)
    })
}

/// Why root cannot become another user, where this is why (user_namespaces(7), "/proc/PID/setgroups").
pub(crate) fn alone() -> Option<String> {
    let denied = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    denied.then(|| ALONE.into())
}

/// What may be behind a refusal while a jail was made, where something can be named.
pub(crate) fn hint() -> Option<String> {
    if MADE_AND_BOUND.is_set() && !rights::may_change_user() {
        return Some(MADE_AND_BOUND.fix.into());
    }
    if let Some(forbidden) = forbidden().filter(|_| !rights::may_change_user()) {
        return forbidden.hint;
    }
    if geteuid().is_root() && !rights::may_change_user() {
        return Some(BOUND_ROOT.into());
    }
    // proc(5): 2 is a filter.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = status
        .lines()
        .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"));
    filtered.then(|| FILTERED.into())
}
