//! What container engines have written down of their containers: ids, names, first processes and cgroups.
//!
//! Only directories of root's are read, and only the command lines of processes that are root's and of the host: whoever else
//! could write there could give his cgroup the name of another. So rootless containers are not found here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde_json::Value;

/// What is known of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Container {
    pub names: Vec<String>,
    /// Its first process, and when that started, if the runtime wrote it down.
    pub first: Option<(i32, Option<u64>)>,
    /// Its cgroup (version 2): a path of the file system, or within the tree.
    pub cgroup: Option<PathBuf>,
}

/// Containers by their ids, and where they were looked for.
#[derive(Debug, Default)]
pub(super) struct Engines {
    pub containers: BTreeMap<String, Container>,
    pub looked_at: Vec<PathBuf>,
}

impl Engines {
    /// Reads it all. `root` is `/` on this host.
    pub(super) fn read(root: &Path) -> Engines {
        let mut engines = Engines::default();
        let mut places = Places::usual(root);
        for words in roots_command_lines(root) {
            engines.command_line(&words, &mut places);
        }
        for state in &places.states {
            engines.states(state);
        }
        for data in &places.docker {
            engines.docker(&data.join("containers"));
        }
        for storage in &places.podman {
            engines.podman(storage);
        }
        for bundles in &places.bundles {
            engines.bundles(bundles);
        }
        engines
    }

    fn container(&mut self, id: &str) -> &mut Container {
        self.containers.entry(id.to_owned()).or_default()
    }

    fn name(&mut self, id: &str, name: &str) {
        let names = &mut self.container(id).names;
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    /// The entries of a directory of root's. One that is missing was looked at, too.
    fn list(&mut self, directory: &Path) -> Vec<PathBuf> {
        self.looked_at.push(directory.to_owned());
        list(directory)
    }

    /// A directory of a runtime: a folder for each container, with `state.json` (runc) or `status` (crun).
    fn states(&mut self, directory: &Path) {
        for folder in self.list(directory) {
            let Some(id) = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                continue;
            };
            let (runc, crun) = (json(&folder.join("state.json")), json(&folder.join("status")));
            let number = |state: &Value, key: &str| state.get(key).and_then(Value::as_i64);
            let found = match (runc, crun) {
                (Some(state), _) => (
                    number(&state, "init_process_pid"),
                    number(&state, "init_process_start"),
                    state["cgroup_paths"][""].as_str().map(PathBuf::from),
                ),
                (None, Some(state)) => (
                    number(&state, "pid"),
                    number(&state, "process-start-time"),
                    state["cgroup-path"].as_str().map(PathBuf::from),
                ),
                (None, None) => continue,
            };
            let (pid, started, cgroup) = found;
            let container = self.container(&id);
            let pid = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
            container.first = pid.map(|pid| (pid, started.map(i64::cast_unsigned).filter(|started| *started > 0)));
            container.cgroup = cgroup;
        }
    }

    fn docker(&mut self, directory: &Path) {
        for folder in self.list(directory) {
            if let Some(config) = json(&folder.join("config.v2.json"))
                && let (Some(id), Some(name)) = (config["ID"].as_str(), config["Name"].as_str())
            {
                self.name(id, name.trim_start_matches('/'));
            }
        }
    }

    fn podman(&mut self, storage: &Path) {
        for driver in self.list(storage) {
            for file in ["containers.json", "volatile-containers.json"] {
                let Some(Value::Array(listed)) = json(&driver.join(file)) else {
                    continue;
                };
                for container in &listed {
                    let names = container["names"].as_array().into_iter().flatten();
                    for name in names.filter_map(Value::as_str) {
                        self.name(container["id"].as_str().unwrap_or_default(), name);
                    }
                }
            }
        }
    }

    /// The bundles of containerd's tasks: Kubernetes' names are annotations of theirs.
    fn bundles(&mut self, directory: &Path) {
        for namespace in self.list(directory) {
            for bundle in list(&namespace) {
                let id = bundle.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let config = json(&bundle.join("config.json")).unwrap_or_default();
                if let Some(name) = config["annotations"]["io.kubernetes.cri.container-name"].as_str() {
                    self.name(id, name);
                }
            }
        }
    }

    /// What a process of an engine was told: where docker keeps its things, and whom a conmon or a shim watches.
    fn command_line(&mut self, words: &[String], places: &mut Places) {
        let program = words
            .first()
            .and_then(|word| word.rsplit('/').next())
            .unwrap_or_default();
        let value = |option: &str| {
            let attached = words
                .iter()
                .find_map(|word| word.strip_prefix(option)?.strip_prefix('=').map(str::to_owned));
            let next = words.iter().position(|word| word == option);
            attached.or_else(|| next.and_then(|at| words.get(at + 1).cloned()))
        };
        match program {
            "dockerd" => {
                places.docker.extend(value("--data-root").map(PathBuf::from));
                if let Some(root) = value("--exec-root") {
                    places.add_docker_states(Path::new(&root));
                }
            }
            "conmon" => {
                if let (Some(id), Some(name)) = (value("-c"), value("-n")) {
                    self.name(&id, &name);
                }
            }
            _ if program.starts_with("containerd-shim") => {
                if let Some(id) = value("-id") {
                    self.container(&id);
                }
            }
            _ => {}
        }
    }
}

/// Where engines keep what they know.
struct Places {
    states: Vec<PathBuf>,
    docker: Vec<PathBuf>,
    podman: Vec<PathBuf>,
    bundles: Vec<PathBuf>,
}

impl Places {
    fn usual(root: &Path) -> Places {
        let mut places = Places {
            states: vec![root.join("run/runc"), root.join("run/crun")],
            docker: vec![root.join("var/lib/docker")],
            podman: vec![root.join("var/lib/containers/storage")],
            bundles: vec![root.join("run/containerd/io.containerd.runtime.v2.task")],
        };
        places.states.extend(list(&root.join("run/containerd/runc")));
        places.add_docker_states(&root.join("run/docker"));
        let own = json(&root.join("etc/docker/daemon.json")).unwrap_or_default();
        places.docker.extend(own["data-root"].as_str().map(PathBuf::from));
        if let Some(exec_root) = own["exec-root"].as_str() {
            places.add_docker_states(Path::new(exec_root));
        }
        places
    }

    /// docker has a directory for each runtime, and one below for its own namespace of containerd.
    fn add_docker_states(&mut self, exec_root: &Path) {
        let runtimes = list(exec_root).into_iter().filter(|entry| {
            let name = entry.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(b"runtime-")
        });
        self.states.extend(runtimes.map(|runtime| runtime.join("moby")));
    }
}

/// Returns what is in a directory; nothing, if another user could have written it.
fn list(directory: &Path) -> Vec<PathBuf> {
    let safe =
        fs::metadata(directory).is_ok_and(|found| found.uid() == geteuid().as_raw() && found.mode() & 0o002 == 0);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.filter(|_| safe).map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Returns the command lines of the processes that are root's and not in a container.
fn roots_command_lines(root: &Path) -> Vec<Vec<String>> {
    let proc = root.join("proc");
    let namespace = |pid: &Path| fs::read_link(pid.join("ns/pid")).ok();
    let own = namespace(&proc.join("self"));
    let entries = fs::read_dir(&proc).into_iter().flatten().flatten();
    let ours = entries.map(|entry| entry.path()).filter(|process| {
        let number = process.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        number.is_some()
            && fs::metadata(process).is_ok_and(|found| found.uid() == 0)
            && own.is_some()
            && namespace(process) == own
    });
    let words = |process: PathBuf| {
        let line = fs::read(process.join("cmdline")).ok()?;
        let words = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        Some(words.collect())
    };
    ours.filter_map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_each_engine_writes_down_is_read() {
        let host = tempfile::tempdir().unwrap();
        let root = host.path();
        put(
            root,
            "run/runc/box/state.json",
            r#"{"id":"box","init_process_pid":7,"init_process_start":99,"cgroup_paths":{"":"/sys/fs/cgroup/box"}}"#,
        );
        put(
            root,
            "run/crun/c1/status",
            r#"{"pid":8,"cgroup-path":"/machine.slice/c1"}"#,
        );
        put(
            root,
            "run/docker/runtime-runc/moby/d1/state.json",
            r#"{"init_process_pid":9}"#,
        );
        put(
            root,
            "run/containerd/runc/k8s.io/k1/state.json",
            r#"{"init_process_pid":10}"#,
        );
        put(
            root,
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/k1/config.json",
            r#"{"annotations":{"io.kubernetes.cri.container-name":"api"}}"#,
        );
        put(
            root,
            "var/lib/docker/containers/d1/config.v2.json",
            r#"{"ID":"d1","Name":"/web"}"#,
        );
        put(
            root,
            "var/lib/containers/storage/overlay-containers/containers.json",
            r#"[{"id":"c1","names":["db"]}]"#,
        );
        // What is no state is nobody's.
        put(root, "run/runc/broken/state.json", "{");
        let found = Engines::read(root).containers;
        let ids: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(ids, ["box", "c1", "d1", "k1"]);
        assert_eq!(found["box"].first, Some((7, Some(99))));
        assert_eq!(found["box"].cgroup.as_deref(), Some(Path::new("/sys/fs/cgroup/box")));
        assert_eq!(
            (found["c1"].names.as_slice(), found["c1"].first),
            (&["db".to_owned()][..], Some((8, None)))
        );
        assert_eq!(
            (found["d1"].names.as_slice(), found["d1"].first),
            (&["web".to_owned()][..], Some((9, None)))
        );
        assert_eq!(found["k1"].names, ["api"]);
        // In a directory that others may write, anybody could be `box`.
        fs::set_permissions(
            root.join("run/runc"),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        assert!(!Engines::read(root).containers.contains_key("box"));
    }

    #[test]
    fn command_lines_tell_of_other_places_and_names() {
        let mut engines = Engines::default();
        let host = tempfile::tempdir().unwrap();
        put(host.path(), "exec/runtime-httpjail/moby/d1/state.json", "{}");
        let mut places = Places::usual(Path::new("/nowhere"));
        let exec = host.path().join("exec");
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        engines.command_line(&words("/usr/bin/conmon -c c9 -u c9 -n web --exit-dir /x"), &mut places);
        engines.command_line(
            &words("/usr/bin/containerd-shim-runc-v2 -namespace moby -id d9"),
            &mut places,
        );
        engines.command_line(
            &words(&format!("dockerd --data-root=/data --exec-root {}", exec.display())),
            &mut places,
        );
        // Another program's words mean nothing here.
        engines.command_line(&words("sh -c c8 -n web"), &mut places);
        let ids: Vec<&str> = engines.containers.keys().map(String::as_str).collect();
        assert_eq!(
            (ids, engines.containers["c9"].names.as_slice()),
            (vec!["c9", "d9"], &["web".to_owned()][..])
        );
        assert!(places.docker.contains(&PathBuf::from("/data")));
        assert!(places.states.contains(&exec.join("runtime-httpjail/moby")));
    }
}
