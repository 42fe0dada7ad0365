//! The mounts of a container: those by which it could change what holds it are made read-only, those that lead out are refused.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::refused::Refused;

/// File systems of the kernel's that a container sees, if at all, read-only.
const READ_ONLY: &[(&str, &str)] = &[
    ("cgroup", "who writes there moves processes"),
    ("cgroup2", "who writes there moves processes"),
    ("sysfs", "who writes there has the kernel run programs"),
];
/// File systems of the kernel's that no container sees.
const HIDDEN: &[&str] = &[
    "bpf",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "efivarfs",
    "binfmt_misc",
];
/// Directories of the host: neither they, nor what is above them, nor (for those with `true`) what is in them is shown to a container.
const KEPT: &[(&str, bool, &str)] = &[
    ("/proc", true, "the host's processes are in it"),
    ("/dev", false, "the host's disks are in it"),
    ("/run/httpjail", true, "what holds containers is in it"),
    ("/etc/httpjail", true, "the policies and the authority are in it"),
    ("/sys/fs/bpf", true, "the programs that hold containers are in it"),
    ("/run/containerd", false, "the engine's socket is in it"),
    ("/run/docker", false, "the engine's socket is in it"),
    ("/run/podman", false, "the engine's socket is in it"),
    ("/run/crio", false, "the engine's socket is in it"),
    ("/var/lib/docker", false, "the engine's images are in it"),
    ("/var/lib/containerd", false, "the engine's images are in it"),
    ("/var/lib/containers", false, "the engine's images are in it"),
    ("/var/lib/kubelet", false, "the pods of this node are in it"),
    ("/run/systemd", false, "the service manager's sockets are in it"),
    ("/run/dbus", false, "the bus of the host is in it"),
];
/// The authority's certificate is for everybody.
const PUBLIC: &str = "/etc/httpjail/ca.crt";
/// What the kernel must not be told, and what is not to be read: runc's defaults, which `--privileged` takes away.
const READ_ONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const MASKED_PATHS: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/fs/bpf",
];

/// What a path of the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Without links.
    pub path: PathBuf,
    /// Whether it is a Unix socket.
    pub is_socket: bool,
}

/// Changes the mounts. Returns what became of them, a line each. `look` finds a source.
///
/// # Errors
/// The first mount that leads out.
pub(crate) fn hold(config: &mut Value, look: &dyn Fn(&Path) -> Option<Source>) -> Result<Vec<String>, Refused> {
    let mut told = Vec::new();
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        let text = |name: &str| mount.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, destination) = (text("type"), text("destination"));
        if HIDDEN.contains(&kind.as_str()) {
            return Err(Refused::new(format!(
                "the file system `{kind}` at {destination} cannot be given to a container: it leads to the kernel's own"
            )));
        }
        let bound = is_bind(mount).then(|| look(Path::new(&text("source")))).flatten();
        if let Some(source) = &bound {
            check_source(source)?;
        }
        let of_kernel = bound.is_some_and(|source| source.path.starts_with("/sys"));
        let reason = READ_ONLY.iter().find(|(name, _)| *name == kind).map(|(_, why)| *why);
        let reason = reason.or_else(|| of_kernel.then_some("who writes there changes the kernel's settings"));
        if let Some(why) = reason
            && make_read_only(mount)
        {
            told.push(format!("{destination} is read-only: {why}"));
        }
    }
    for (name, paths) in [("readonlyPaths", READ_ONLY_PATHS), ("maskedPaths", MASKED_PATHS)] {
        told.extend(cover(config, name, paths));
    }
    Ok(told)
}

fn is_bind(mount: &Value) -> bool {
    let options = mount.get("options").and_then(Value::as_array).into_iter().flatten();
    mount.get("type").and_then(Value::as_str) == Some("bind")
        || options
            .filter_map(Value::as_str)
            .any(|option| option == "bind" || option == "rbind")
}

fn check_source(source: &Source) -> Result<(), Refused> {
    let path = source.path.display();
    if source.is_socket {
        return Err(Refused::new(format!(
            "{path} is a Unix socket of the host: what listens there acts outside of the container, unjudged"
        ))
        .hint("leave this volume away"));
    }
    if source.path == Path::new(PUBLIC) {
        return Ok(());
    }
    for (kept, with_content, why) in KEPT {
        let kept = Path::new(kept);
        if kept.starts_with(&source.path) || (*with_content && source.path.starts_with(kept)) {
            return Err(Refused::new(format!(
                "{path} of the host cannot be shown to a container: {why} ({})",
                kept.display()
            ))
            .hint("mount the one directory that is needed"));
        }
    }
    Ok(())
}

/// Returns whether it was writable.
fn make_read_only(mount: &mut Value) -> bool {
    let options = mount
        .get("options")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    // The last word counts (mount(8)), also that of the recursive kind.
    let was = options
        .iter()
        .filter_map(Value::as_str)
        .rfind(|option| ["ro", "rro", "rw", "rrw"].contains(option));
    let writable = !was.is_some_and(|option| option.ends_with("ro"));
    if writable {
        let mut kept: Vec<Value> = options
            .into_iter()
            .filter(|option| !["rw", "rrw"].map(Into::into).contains(option))
            .collect();
        kept.push(json!("ro"));
        mount["options"] = kept.into();
    }
    writable
}

/// Adds paths to a list. Returns whether the list was shorter than it is everywhere.
fn cover(config: &mut Value, name: &str, paths: &[&str]) -> Option<String> {
    let linux = config.get_mut("linux")?.as_object_mut()?;
    let list = linux.entry(name).or_insert(Value::Null);
    let mut list_of = list.as_array().cloned().unwrap_or_default();
    let was_empty = list_of.is_empty();
    for path in paths {
        if !list_of.iter().any(|known| known == path) {
            list_of.push(json!(path));
        }
    }
    *list = list_of.into();
    was_empty.then(|| format!("linux.{name} was empty: {} and others are covered", paths[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &Path) -> Option<Source> {
        let is_socket = path.extension().is_some_and(|extension| extension == "sock");
        Some(Source {
            path: path.to_owned(),
            is_socket,
        })
    }

    fn bind(source: &str) -> Value {
        json!({"linux": {}, "mounts": [{"destination": "/x", "source": source, "type": "bind", "options": ["rbind", "rw"]}]})
    }

    #[test]
    fn what_would_write_to_the_kernel_is_read_only() {
        let mut config = json!({"linux": {"maskedPaths": ["/proc/acpi"]}, "mounts": [
            {"destination": "/sys", "source": "sysfs", "type": "sysfs", "options": ["nosuid", "rw"]},
            {"destination": "/sys/fs/cgroup", "source": "cgroup", "type": "cgroup", "options": ["ro", "nosuid"]},
            {"destination": "/c", "source": "cgroup2", "type": "cgroup2"},
            {"destination": "/s", "source": "/sys/fs/cgroup", "type": "bind", "options": ["rbind", "rprivate"]},
            {"destination": "/data", "source": "/srv/data", "type": "bind", "options": ["rbind", "rw"]},
        ]});
        let told = hold(&mut config, &look).expect("held");
        let options: Vec<&Value> = config["mounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .map(|mount| &mount["options"])
            .collect();
        assert_eq!(
            options,
            [
                &json!(["nosuid", "ro"]),
                &json!(["ro", "nosuid"]),
                &json!(["ro"]),
                &json!(["rbind", "rprivate", "ro"]),
                &json!(["rbind", "rw"])
            ]
        );
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(config["linux"]["maskedPaths"][0], "/proc/acpi");
        assert!(
            config["linux"]["readonlyPaths"]
                .as_array()
                .is_some_and(|paths| paths.contains(&json!("/proc/sys")))
        );
    }

    #[test]
    fn what_leads_out_is_refused() {
        for (source, said) in [
            ("/run/docker.sock", "Unix socket"),
            ("/", "cannot be shown"),
            ("/run", "cannot be shown"),
            ("/proc", "cannot be shown"),
            ("/proc/1", "cannot be shown"),
            ("/dev", "cannot be shown"),
            ("/var/lib", "cannot be shown"),
            ("/etc", "cannot be shown"),
            ("/etc/httpjail/policies", "cannot be shown"),
            ("/run/httpjail/containers", "cannot be shown"),
            ("/sys/fs/bpf", "cannot be shown"),
            ("/sys", "cannot be shown"),
        ] {
            let refused = hold(&mut bind(source), &look).expect_err(source);
            assert!(refused.message.contains(said), "{source}: {refused}");
        }
        let mut debug = json!({"mounts": [{"destination": "/d", "source": "d", "type": "debugfs"}]});
        assert!(hold(&mut debug, &look).is_err());
        for source in [
            "/srv",
            "/dev/null",
            "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/a/resolv.conf",
            "/var/lib/x",
        ] {
            assert!(hold(&mut bind(source), &look).is_ok(), "{source}");
        }
    }
}
