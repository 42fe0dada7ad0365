//! Guesses the reason when the kernel refused a step of making a jail: error numbers alone say little, and they come as
//! text from the jail's init.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::userns;
use crate::jail::sandbox::rights;

/// Kinds of namespaces that a jail has, as user.max_*_namespaces spells them.
const KINDS: [&str; 7] = ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"];

const NO_NF_TABLES: &str = "this kernel has no nf_tables, or may not load it: modprobe -a nf_tables nft_tproxy nft_socket \
                            nft_reject_inet nft_log nfnetlink_log";
const NO_WAY: &str = "this kernel has neither nft_tproxy nor connection tracking, or may not load them: modprobe -a nft_tproxy \
                      nft_socket, or modprobe -a nft_redir nf_conntrack";
const CHROOT: &str = "in a chroot nobody but root may make a user namespace (user_namespaces(7)): start httpjail outside of it, \
                      or with sudo";

/// Where sudo looks for programs by default (sudoers(5), secure_path).
const SECURE_PATH: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/snap/bin",
];

/// This program's path, if sudo would not find it by name (as after `cargo install`) and is wanted for what it does.
pub(crate) fn beyond_sudo() -> Option<PathBuf> {
    let own = std::env::current_exe().ok().filter(|_| !geteuid().is_root())?;
    let known = own
        .parent()
        .is_some_and(|directory| SECURE_PATH.iter().any(|known| directory == Path::new(known)));
    (!known).then_some(own)
}

/// The advice to take sudo.
pub(crate) fn with_sudo() -> String {
    match beyond_sudo() {
        Some(path) => format!("run httpjail with sudo: sudo {} ...", path.display()),
        None => "run httpjail with sudo".into(),
    }
}

/// What a process was given too little of, where that is why no backend works, and what to do about it.
pub(crate) fn limit(message: &str) -> Option<&'static str> {
    let limits = [
        (
            libc::EMFILE,
            "this process may open too few files: raise `ulimit -n` (1024 are enough)",
        ),
        (libc::EFBIG, "this process may write no large files: raise `ulimit -f`"),
    ];
    limits
        .iter()
        .find_map(|(number, hint)| message.contains(&format!("(os error {number})")).then_some(*hint))
}

/// What to say besides `message`, the failure of a step.
pub(crate) fn hint(message: &str) -> Option<String> {
    let failed_with = |number: i32| message.contains(&format!("(os error {number})"));
    if let Some(limit) = limit(message) {
        return Some(limit.into());
    }
    if message.contains("nftables rules") {
        if failed_with(libc::EOPNOTSUPP) || failed_with(libc::EPROTONOSUPPORT) {
            // A filter may refuse the socket, too.
            return userns::hint().or(Some(NO_NF_TABLES.into()));
        }
        if failed_with(libc::ENOENT) {
            return Some(NO_WAY.into());
        }
    }
    if failed_with(libc::ENOSPC)
        && let Some(kind) = KINDS.iter().find(|kind| none_allowed(kind))
    {
        return Some(format!(
            "user.max_{kind}_namespaces is 0: sudo sysctl -w user.max_{kind}_namespaces=15000 (and in /etc/sysctl.d/ to keep it)"
        ));
    }
    if failed_with(libc::EPERM) && !rights::may_change_user() && is_chroot() {
        return Some(CHROOT.into());
    }
    let missing = rights::missing_for_programs();
    if failed_with(libc::EPERM) && geteuid().is_root() && rights::may_change_user() && !missing.is_empty() {
        return Some(format!(
            "give this root, or the container that it is in, {}",
            missing.join(" and ")
        ));
    }
    userns::hint()
}

fn none_allowed(kind: &str) -> bool {
    let limit = fs::read_to_string(format!("/proc/sys/user/max_{kind}_namespaces"));
    limit.is_ok_and(|limit| limit.trim() == "0")
}

/// Nothing is mounted on the root of a process in a chroot that is no mount point itself.
fn is_chroot() -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo");
    table.is_ok_and(|table| !table.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_named() {
        let refused = "the jail could not set up its network: cannot write the nftables rules: netfilter refused the";
        let hint = |error: &str| hint(&format!("{refused} {error}")).unwrap();
        assert!(hint("rule `tproxy for IPv4` in `pre`: No such file or directory (os error 2)").contains("nft_tproxy"));
        let unsupported = hint("batch: Operation not supported (os error 95)");
        // Under a test runner's filter that is the likelier cause.
        assert!(
            unsupported.contains("nf_tables") || unsupported.contains("filter"),
            "{unsupported}"
        );
    }
}
