//! The whole of a container's description: what cannot be held is refused, what could undo the hold is taken away, and the hook and the
//! files that make its programs trust the authority are added.
//!
//! The description is changed as JSON, so that what a newer engine writes into it, and this version does not know, stays.

use std::path::Path;

use serde_json::{Value, json};

use super::mounts::Source;
use super::namespaces::Host;
use super::refused::Refused;
use super::{capabilities, devices, mounts, namespaces, process, seccomp};

/// Our directory among the container's devices, which are a tmpfs: a mount point in it leaves nothing in the image's layers.
const AMONG_DEVICES: &str = "/dev/httpjail";
/// Where that is not so.
const ELSEWHERE: &str = "/run/httpjail";
/// Annotations by which crun leaves out the filter, hands the cgroup over, or runs a virtual machine.
const CRUN: &[(&str, bool)] = &[
    ("run.oci.handler", true),
    ("run.oci.seccomp_bpf_data", false),
    ("run.oci.seccomp_fail_unknown_syscall", false),
    ("run.oci.delegate-cgroup", false),
    ("run.oci.systemd.subgroup", false),
    ("run.oci.systemd.force_cgroup_v1", false),
    ("module.wasm.image/variant", true),
];
/// The words by which our hook is known.
pub(crate) const HOOK: [&str; 2] = ["runtime", "hook"];

/// What is added.
#[derive(Debug)]
pub(crate) struct Additions<'a> {
    /// The hook that waits until the container is held.
    pub hook: Value,
    /// The host's directory with the files of [`Additions::place`].
    pub files: &'a Path,
    /// Where the container sees that directory.
    pub place: &'a str,
    /// A file of that directory, and where the container sees it in the place of its own.
    pub covers: Vec<(&'static str, String)>,
    /// Variables of every process.
    pub variables: &'a [(String, String)],
    /// Variables that no process has.
    pub dropped: &'a [&'a str],
}

/// Takes away what an earlier rewriting of the same file has added.
pub(crate) fn clean(config: &mut Value, run_dir: &Path) {
    if let Some(hooks) = config.pointer_mut("/hooks/createRuntime").and_then(Value::as_array_mut) {
        hooks.retain(|hook| !is_ours(hook));
    }
    if let Some(mounts) = config.get_mut("mounts").and_then(Value::as_array_mut) {
        let is_ours = |mount: &Value| {
            let source = mount.get("source").and_then(Value::as_str);
            source.is_some_and(|source| Path::new(source).starts_with(run_dir))
        };
        mounts.retain(|mount| !is_ours(mount));
    }
}

fn is_ours(hook: &Value) -> bool {
    let words = hook.get("args").and_then(Value::as_array);
    words.is_some_and(|words| words.len() > HOOK.len() && HOOK.iter().zip(&words[1..]).all(|(ours, word)| word == ours))
}

/// Refuses what cannot be held, and takes away what could undo the hold. Returns a line for each thing that is taken away.
///
/// # Errors
/// The first that cannot be held.
pub(crate) fn hold(
    config: &mut Value,
    host: &dyn Host,
    look: &dyn Fn(&Path) -> Option<Source>,
) -> Result<Vec<String>, Refused> {
    if config.get("vm").is_some_and(|vm| !vm.is_null()) {
        return Err(virtual_machine("it has a virtual machine"));
    }
    let mut told = Vec::new();
    if let Some(annotations) = config.get_mut("annotations").and_then(Value::as_object_mut) {
        for (name, runs_another) in CRUN {
            if annotations.contains_key(*name) && *runs_another {
                return Err(virtual_machine(&format!(
                    "the annotation {name} asks for another kind of sandbox"
                )));
            }
            if annotations.remove(*name).is_some() {
                told.push(format!(
                    "the annotation {name} is taken away: it changes what holds the container"
                ));
            }
        }
    }
    let among_others = namespaces::check(config, host)?;
    devices::check(config)?;
    devices::deny_others(config);
    told.extend(mounts::hold(config, look)?);
    if let Some(process) = config.get_mut("process") {
        told.extend(capabilities::strip(process, among_others));
    }
    seccomp::hold(config);
    Ok(told)
}

fn virtual_machine(what: &str) -> Refused {
    Refused::new(format!(
        "{what}: what a sandbox with a network stack of its own (gVisor, Kata, krun) sends passes no program of a cgroup"
    ))
    .hint("use runc or crun without a handler")
}

/// Returns where the container sees our files.
pub(crate) fn place(config: &Value) -> &'static str {
    let mounts = config.get("mounts").and_then(Value::as_array).into_iter().flatten();
    let is_devices = |mount: &Value| {
        let text = |name: &str| mount.get(name).and_then(Value::as_str);
        text("destination").map(|path| path.trim_end_matches('/')) == Some("/dev") && text("type") == Some("tmpfs")
    };
    match mounts.into_iter().any(is_devices) {
        true => AMONG_DEVICES,
        false => ELSEWHERE,
    }
}

/// Adds the hook, before all others, and the files.
pub(crate) fn add(config: &mut Value, additions: &Additions<'_>) {
    change(config, &["hooks", "createRuntime"], |hooks| {
        hooks.insert(0, additions.hook.clone())
    });
    let bind = |name: &str, destination: &str| {
        json!({
            "destination": destination,
            "type": "bind",
            "source": additions.files.join(name).to_string_lossy(),
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        })
    };
    let covers = additions
        .covers
        .iter()
        .map(|(name, destination)| bind(name, destination));
    let added: Vec<Value> = [bind("", additions.place)].into_iter().chain(covers).collect();
    change(config, &["mounts"], |mounts| mounts.extend(added));
    if let Some(process) = config.get_mut("process").filter(|process| process.is_object()) {
        process::set_environment(process, additions.variables, additions.dropped);
    }
}

/// Changes the list at a path of keys, which is made where it is missing.
fn change(config: &mut Value, keys: &[&str], work: impl FnOnce(&mut Vec<Value>)) {
    let mut here = config;
    for key in keys {
        if !here.is_object() {
            *here = json!({});
        }
        here = &mut here[*key];
    }
    let mut list = match here.take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    work(&mut list);
    *here = list.into();
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Own;

    impl Host for Own {
        fn is_hosts_network(&self, _: &str) -> Result<bool, String> {
            Ok(false)
        }

        fn is_held(&self, _: &str) -> bool {
            false
        }
    }

    fn bundle() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": {"args": ["sh"], "env": ["PATH=/bin", "http_proxy=x"], "capabilities": {"bounding": ["CAP_NET_RAW", "CAP_KILL"]}},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
            "linux": {"namespaces": [{"type": "network"}, {"type": "mount"}, {"type": "pid"}], "ofTheFuture": {"a": [1, 2]}},
            "hooks": {"prestart": [{"path": "/theirs"}], "createRuntime": [{"path": "/theirs"}]},
            "ofTheFuture": 18446744073709551615_u64,
        })
    }

    fn look(path: &Path) -> Option<Source> {
        Some(Source {
            path: path.to_owned(),
            is_socket: false,
        })
    }

    fn rewrite(config: &mut Value) -> Vec<String> {
        clean(config, Path::new("/run/httpjail"));
        let told = hold(config, &Own, &look).expect("held");
        let additions = Additions {
            hook: json!({"path": "/usr/bin/httpjail", "args": ["httpjail", "runtime", "hook", "--policy", "a"]}),
            files: &PathBuf::from("/run/httpjail/containers/x/trust"),
            place: place(config),
            covers: vec![("ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt".to_owned())],
            variables: &[("SSL_CERT_FILE".to_owned(), "/dev/httpjail/ca-bundle.crt".to_owned())],
            dropped: &["http_proxy"],
        };
        add(config, &additions);
        told
    }

    #[test]
    fn a_bundle_is_rewritten_and_what_is_unknown_stays() {
        let mut config = bundle();
        let told = rewrite(&mut config);
        assert_eq!(config["ofTheFuture"], bundle()["ofTheFuture"]);
        assert_eq!(config["linux"]["ofTheFuture"], bundle()["linux"]["ofTheFuture"]);
        assert_eq!(config["hooks"]["prestart"], bundle()["hooks"]["prestart"]);
        let hooks = config["hooks"]["createRuntime"].as_array().expect("hooks");
        assert!(is_ours(&hooks[0]) && hooks[1]["path"] == "/theirs", "{hooks:?}");
        assert_eq!(
            config["process"]["env"],
            json!(["PATH=/bin", "SSL_CERT_FILE=/dev/httpjail/ca-bundle.crt"])
        );
        assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_KILL"]));
        let places: Vec<_> = config["mounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .map(|mount| mount["destination"].clone())
            .collect();
        assert_eq!(places, ["/dev", "/dev/httpjail", "/etc/ssl/certs/ca-certificates.crt"]);
        assert_eq!(told.len(), 2, "the paths of /proc: {told:?}");
        // The same file again: nothing is doubled.
        let once = config.clone();
        assert_eq!(rewrite(&mut config), Vec::<String>::new());
        assert_eq!(config, once);
    }

    #[test]
    fn what_runs_something_else_is_refused() {
        let with = |name: &str| {
            let mut config = bundle();
            config["annotations"] = json!({name: "x"});
            config
        };
        assert!(hold(&mut with("run.oci.handler"), &Own, &look).is_err());
        let mut config = with("run.oci.seccomp_bpf_data");
        let told = hold(&mut config, &Own, &look).expect("held");
        assert!(told.iter().any(|line| line.contains("seccomp_bpf_data")), "{told:?}");
        assert_eq!(config["annotations"], json!({}));
        let mut machine = bundle();
        machine["vm"] = json!({"hypervisor": {}});
        assert!(hold(&mut machine, &Own, &look).is_err());
    }

    #[test]
    fn without_devices_of_its_own_it_stands_elsewhere() {
        let mut config = bundle();
        assert_eq!(place(&config), "/dev/httpjail");
        config["mounts"] = json!([{"destination": "/dev", "type": "bind", "source": "/dev"}]);
        assert_eq!(place(&config), "/run/httpjail");
    }
}
