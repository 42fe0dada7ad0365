//! Builds the command's environment in a jail: the caller's variables, without those that name proxies or sockets outside, with
//! those that make clients trust the authority.

use std::ffi::{OsStr, OsString};

use crate::jail::sandbox::user_identity::UserIdentity;

/// Variables that name a proxy: the jail has one of its own, and a client that asked for another would be refused.
pub(crate) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "FTP_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "ftp_proxy",
];

/// Variables that lead to sockets of the host, which the jail does not show: a program that follows one only fails later.
const SOCKETS: [&str; 6] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DOCKER_HOST",
];

/// What sudo leaves for the program that it runs; a program in the jail must not take itself for one under sudo.
const SUDO: [&str; 6] = [
    "SUDO_UID",
    "SUDO_GID",
    "SUDO_USER",
    "SUDO_COMMAND",
    "SUDO_HOME",
    "SUDO_TTY",
];

/// The command's environment, made from `own` (httpjail's). With `sockets_allowed` those that lead to sockets stay, since
/// one of them may be allowed.
pub(crate) fn build(
    own: impl Iterator<Item = (OsString, OsString)>,
    identity: &UserIdentity,
    trust: Vec<(&'static str, String)>,
    sockets_allowed: bool,
) -> Vec<(OsString, OsString)> {
    let mut added: Vec<(OsString, OsString)> = trust
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    if identity.switched {
        for name in ["USER", "LOGNAME"] {
            added.push((name.into(), identity.name.clone().into()));
        }
        added.push(("HOME".into(), identity.home.clone().into()));
    }
    let stays = |name: &OsStr| {
        let is = |names: &[&str]| names.iter().any(|listed| name == *listed);
        // Root's own folders, where the caller's are meant.
        let roots =
            identity.switched && (is(&["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"]));
        !is(&PROXIES) && !is(&SUDO) && !roots && (sockets_allowed || !is(&SOCKETS))
    };
    let mut env: Vec<(OsString, OsString)> = own
        .filter(|(name, _)| stays(name) && !added.iter().any(|(taken, _)| taken == name))
        .collect();
    env.append(&mut added);
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Gid, Uid};

    fn check(own: &[(&str, &str)], switched: bool, sockets: bool, expected: &[(&str, &str)]) {
        let identity = UserIdentity {
            uid: Uid::from_raw(1000),
            gid: Gid::from_raw(1000),
            groups: vec![],
            name: "ann".into(),
            home: "/home/ann".into(),
            switched,
        };
        let own = own
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let built = build(own, &identity, vec![("SSL_CERT_FILE", "/ours".into())], sockets);
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        assert_eq!(built, expected);
    }

    // Proves on ebpf, netns, rootless: K04.
    #[test]
    fn what_leads_astray_goes_and_what_helps_comes() {
        check(
            &[("PATH", "/bin"), ("https_proxy", "x"), ("SUDO_UID", "1")],
            false,
            false,
            &[("PATH", "/bin"), ("SSL_CERT_FILE", "/ours")],
        );
        check(
            &[("SSL_CERT_FILE", "/theirs"), ("DISPLAY", ":0")],
            false,
            true,
            &[("DISPLAY", ":0"), ("SSL_CERT_FILE", "/ours")],
        );
        check(
            &[("HOME", "/root"), ("USER", "root"), ("DISPLAY", ":0")],
            true,
            false,
            &[
                ("SSL_CERT_FILE", "/ours"),
                ("USER", "ann"),
                ("LOGNAME", "ann"),
                ("HOME", "/home/ann"),
            ],
        );
    }
}
