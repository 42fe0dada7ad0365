//! The system calls by which a container could get around the programs on its cgroup, refused by the container's own seccomp filter.
//!
//! The programs see IPv4 and IPv6. Sockets of other families (AF_VSOCK, AF_PACKET, AF_XDP, ...) never reach them. io_uring makes sockets
//! behind a filter's back, and socketcall(2) of 32-bit programs has its arguments where a filter cannot see them. The engine's profile
//! is changed rather than replaced: what it refuses stays refused.

use serde_json::{Value, json};

/// AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (`include/linux/socket.h`).
const FAMILIES: [u64; 4] = [1, 2, 10, 16];
/// AF_MAX of Linux 6.18.
const FAMILIES_END: u64 = 46;
const EAFNOSUPPORT: u32 = 97;
const ENOSYS: u32 = 38;
/// Calls that answer "no such call".
const MISSING: [&str; 7] = [
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "socketcall",
    "keyctl",
    "add_key",
    "request_key",
];
/// Actions that let no call through.
const REFUSING: [&str; 6] = [
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_TRACE",
];

/// Changes the container's profile, or gives it one.
pub(crate) fn hold(config: &mut Value) {
    let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) else {
        return;
    };
    let profile = linux.entry("seccomp").or_insert(Value::Null);
    if !profile.is_object() {
        *profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures()});
    }
    let rules = profile
        .get("syscalls")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let ours = refusals();
    let mut held: Vec<Value> = Vec::new();
    // The same profile may come again; libseccomp refuses a rule that is there twice.
    let (refusing, permissive): (Vec<_>, Vec<_>) = rules
        .into_iter()
        .filter(|rule| !ours.contains(rule))
        .partition(|rule| refuses(rule.get("action")));
    permissive.into_iter().for_each(|rule| narrow(rule, &mut held));
    drop_narrower(&mut held);
    // The order means nothing to the filter, but libseccomp 2.5 does not take Podman's rules for netlink the other way around (EEXIST).
    held.extend(refusing);
    if !refuses(profile.get("defaultAction")) {
        held.extend(ours);
    }
    profile["syscalls"] = held.into();
}

fn refuses(action: Option<&Value>) -> bool {
    action
        .and_then(Value::as_str)
        .is_some_and(|action| REFUSING.contains(&action))
}

/// Adds a permissive rule without the calls that are missing, and with `socket` for our families alone.
fn narrow(mut rule: Value, held: &mut Vec<Value>) {
    let names = rule.get("names").and_then(Value::as_array).cloned().unwrap_or_default();
    let has_socket = names.iter().any(|name| name == "socket");
    let is_plain = |name: &Value| {
        name.as_str()
            .is_some_and(|name| name != "socket" && !MISSING.contains(&name))
    };
    let plain: Vec<Value> = names.into_iter().filter(is_plain).collect();
    if has_socket {
        let arguments = rule.get("args").and_then(Value::as_array).cloned().unwrap_or_default();
        let (of_family, others): (Vec<_>, Vec<_>) = arguments
            .into_iter()
            .partition(|argument| argument.get("index").and_then(Value::as_u64) == Some(0));
        for family in FAMILIES {
            if of_family.iter().all(|condition| holds(condition, family)) {
                let mut narrowed = rule.clone();
                narrowed["names"] = json!(["socket"]);
                let mut arguments = vec![json!({"index": 0, "value": family, "op": "SCMP_CMP_EQ"})];
                arguments.extend(others.iter().cloned());
                narrowed["args"] = arguments.into();
                if !held.contains(&narrowed) {
                    held.push(narrowed);
                }
            }
        }
    }
    if !plain.is_empty() {
        rule["names"] = plain.into();
        held.push(rule);
    }
}

/// Removes rules for a family under more conditions, where another lets the family through under none: libseccomp refuses both together.
fn drop_narrower(held: &mut Vec<Value>) {
    let conditions = |rule: &Value| rule.get("args").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_socket = |rule: &Value| rule.get("names") == Some(&json!(["socket"])) && !refuses(rule.get("action"));
    let wide: Vec<Vec<Value>> = held
        .iter()
        .filter(|rule| is_socket(rule))
        .map(conditions)
        .filter(|list| list.len() == 1)
        .collect();
    held.retain(|rule| {
        let own = conditions(rule);
        !is_socket(rule) || own.len() < 2 || wide.iter().all(|wide| wide[0] != own[0])
    });
}

/// Whether a condition on the first argument holds for this family. One that is not understood does not.
fn holds(condition: &Value, family: u64) -> bool {
    let number = |name: &str| condition.get(name).and_then(Value::as_u64).unwrap_or_default();
    let value = number("value");
    match condition.get("op").and_then(Value::as_str) {
        Some("SCMP_CMP_EQ") => family == value,
        Some("SCMP_CMP_NE") => family != value,
        Some("SCMP_CMP_LT") => family < value,
        Some("SCMP_CMP_LE") => family <= value,
        Some("SCMP_CMP_GE") => family >= value,
        Some("SCMP_CMP_GT") => family > value,
        Some("SCMP_CMP_MASKED_EQ") => family & value == number("valueTwo"),
        _ => false,
    }
}

/// What is refused where the default lets calls through. A family beyond 32 bits is none: the kernel drops those bits, so all beyond the
/// last family are refused, too.
fn refusals() -> Vec<Value> {
    let refuse = |condition: Value| json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": EAFNOSUPPORT, "args": [condition]});
    let others = (0..FAMILIES_END).filter(|family| !FAMILIES.contains(family));
    others
        .map(|family| refuse(json!({"index": 0, "value": family, "op": "SCMP_CMP_EQ"})))
        .chain([refuse(json!({"index": 0, "value": FAMILIES_END, "op": "SCMP_CMP_GE"}))])
        .chain([json!({"names": MISSING, "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS})])
        .collect()
}

/// The architectures of this machine's programs; a filter kills calls of others.
fn architectures() -> Value {
    match cfg!(target_arch = "aarch64") {
        true => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        false => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the profile lets `socket` through for a family, by the rules that have no other condition.
    fn lets_socket(config: &Value, family: u64) -> bool {
        let profile = &config["linux"]["seccomp"];
        let rules = profile["syscalls"].as_array().expect("rules").iter();
        let mut fitting = rules.filter(|rule| {
            let names = rule["names"].as_array().expect("names");
            let arguments = rule["args"].as_array().cloned().unwrap_or_default();
            names.contains(&json!("socket")) && arguments.iter().all(|condition| holds(condition, family))
        });
        let action = fitting.next().map_or(&profile["defaultAction"], |rule| &rule["action"]);
        action == "SCMP_ACT_ALLOW"
    }

    fn held(profile: Value) -> Value {
        let mut config = json!({"linux": {"seccomp": profile}});
        hold(&mut config);
        config
    }

    #[test]
    fn other_families_are_refused_by_every_profile() {
        let allow = |more: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [more]});
        let plain = json!({"names": ["read", "socket", "socketcall", "io_uring_setup"], "action": "SCMP_ACT_ALLOW"});
        let not_vsock = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]});
        for profile in [
            Value::Null,
            json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            allow(plain),
            allow(not_vsock),
        ] {
            let config = held(profile.clone());
            for family in [1, 2, 10, 16] {
                assert!(lets_socket(&config, family), "{family}: {profile}");
            }
            for family in [0, 17, 38, 40, 44, 46, 1 << 32 | 40] {
                assert!(!lets_socket(&config, family), "{family}: {profile}");
            }
            let text = config.to_string();
            assert!(!text.contains(r#""SCMP_ACT_ALLOW","names":["read","socket"#), "{text}");
            let mut again = config.clone();
            hold(&mut again);
            for family in [2, 40] {
                assert_eq!(lets_socket(&again, family), family == 2, "twice: {profile}");
            }
        }
    }

    #[test]
    fn what_a_profile_refuses_stays_refused() {
        let unix = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
        let config = held(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [unix]}));
        assert!(lets_socket(&config, 1) && !lets_socket(&config, 2));
        // Podman's: NETLINK_AUDIT is refused by the third argument.
        let audit = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]});
        let config = held(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [audit]}));
        let rules = config["linux"]["seccomp"]["syscalls"].as_array().expect("rules");
        assert_eq!(rules.len(), FAMILIES.len());
        assert!(
            rules
                .iter()
                .all(|rule| rule["args"].as_array().is_some_and(|args| args.len() == 2))
        );
    }

    #[test]
    fn calls_that_hide_their_arguments_are_missing() {
        let config = held(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["io_uring_setup", "keyctl"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["write", "socketcall"], "action": "SCMP_ACT_LOG"},
        ]}));
        assert_eq!(
            config["linux"]["seccomp"]["syscalls"],
            json!([{"names": ["write"], "action": "SCMP_ACT_LOG"}])
        );
        let open = held(Value::Null).to_string();
        assert!(MISSING.iter().all(|name| open.contains(name)), "{open}");
    }
}
