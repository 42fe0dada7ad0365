//! The capabilities that no held container has, each with what it could do to the programs that hold it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Taken away; the second column says why.
const STRONG: &[(&str, &str)] = &[
    (
        "CAP_NET_ADMIN",
        "it marks sockets as httpjail's own, and detaches programs",
    ),
    ("CAP_NET_RAW", "packets of AF_PACKET pass no program of a cgroup"),
    (
        "CAP_SYS_ADMIN",
        "it mounts, enters namespaces, and moves processes between cgroups",
    ),
    ("CAP_BPF", "it writes to the maps of the programs"),
    ("CAP_PERFMON", "it reads the kernel's memory through programs"),
    ("CAP_SYS_MODULE", "it loads code into the kernel"),
    (
        "CAP_SYS_RAWIO",
        "it writes to memory and to disks below the file system",
    ),
    ("CAP_SYS_BOOT", "it loads another kernel"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at(2) opens files of the host"),
    ("CAP_MAC_ADMIN", "it changes the profile that confines it"),
    ("CAP_MAC_OVERRIDE", "it ignores the profile that confines it"),
    ("CAP_SYSLOG", "it reads the kernel's addresses"),
];
/// Also where processes of others are in the PID namespace: they could be made to send in the place of the container.
const AMONG_OTHERS: (&str, &str) = ("CAP_SYS_PTRACE", "it takes over processes that have another policy");
/// Engines give this to every container; that it goes is not worth a line.
const USUAL: &str = "CAP_NET_RAW";

/// Takes the strong capabilities from a process's description, and returns those that nobody gets by default, with the reason.
pub(crate) fn strip(process: &mut Value, among_others: bool) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()) {
        if let Some(names) = set.as_array_mut() {
            names.retain(|name| {
                let strong = name.as_str().and_then(|name| reason(name, among_others));
                taken.extend(strong);
                strong.is_none()
            });
        }
    }
    let told = taken.into_iter().filter(|(name, _)| *name != USUAL);
    told.map(|(name, why)| format!("{name} is taken away: {why}")).collect()
}

/// Returns the row of a capability that is too strong. Engines write `CAP_NET_RAW`; by hand `net_raw` is typed too.
pub(crate) fn reason(name: &str, among_others: bool) -> Option<(&'static str, &'static str)> {
    let name = name.trim().to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let others = among_others.then_some(&AMONG_OTHERS);
    let mut rows = STRONG.iter().chain(others);
    rows.find(|(strong, _)| strong.strip_prefix("CAP_") == Some(name))
        .copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strong_ones_go_from_every_set_and_the_others_stay() {
        let mut process = json!({"capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"],
            "effective": ["CAP_NET_ADMIN", "CAP_KILL"],
            "ambient": ["CAP_BPF"],
        }});
        let told = strip(&mut process, false);
        assert_eq!(
            process["capabilities"],
            json!({"bounding": ["CAP_CHOWN", "CAP_SYS_PTRACE"], "effective": ["CAP_KILL"], "ambient": []})
        );
        let names: Vec<_> = told.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        strip(&mut process, true);
        assert_eq!(process["capabilities"]["bounding"], json!(["CAP_CHOWN"]));
    }

    #[test]
    fn every_spelling_is_known() {
        for name in ["CAP_NET_RAW", "net_raw", " cap_net_raw"] {
            assert!(reason(name, false).is_some(), "{name}");
        }
        assert!(reason("CAP_CHOWN", true).is_none() && reason("CAP_SYS_PTRACE", false).is_none());
    }
}
