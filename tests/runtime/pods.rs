//! Pods: containers that share a network, as an engine that speaks CRI starts them.

use std::os::unix::fs::symlink;

use super::*;

/// Answers on loopback alone, in both families.
const SERVER: &str = "import os, socket, sys
listening = []
for family, address in ((2, '127.0.0.1'), (10, '::1')):
  s = socket.socket(family); s.setsockopt(1, 2, 1); s.bind((address, 8181)); s.listen(); listening.append(s)
for s in listening[:1] if os.fork() else listening[1:]:
  while 1:
    c, _ = s.accept(); c.recv(1000); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nneighbor'); c.close()";
const UID: &str = "pod01234567-89ab-cdef-0123-456789abcdef";
/// Asks the server until it answers, and the world once.
const CLIENT: &str = "for a in 127.0.0.1 '[::1]'; do curl -s -m 5 --retry 20 --retry-delay 0 --retry-connrefused -o /dev/null -w '%{http_code} ' http://$a:8181/; done
for h in ok evil; do curl -s -m 10 -o /dev/null -w '%{http_code} ' https://$h.test/; done";
const IMPATIENT: &str =
    "for a in 127.0.0.1 '[::1]'; do curl -s -m 5 -o /dev/null -w '%{http_code} ' http://$a:8181/; done
for h in ok evil; do curl -s -m 10 -o /dev/null -w '%{http_code} ' https://$h.test/; done";

/// A pod: bundles that one engine starts.
struct Pod<'lab> {
    sandbox: Bundle<'lab>,
    /// The name of the cgroup above those of its containers.
    cgroup: &'static str,
}

impl<'lab> Pod<'lab> {
    /// Starts its sandbox, which has the server.
    fn start(lab: &'lab Lab, cgroup: &'static str) -> Pod<'lab> {
        let mut sandbox = Bundle::new(lab, "");
        sandbox.runtime = sandbox.dir.join("httpjail-runc-cri");
        symlink(lab.binary(), &sandbox.runtime).unwrap();
        let table = "version: 1\npods:\n- {namespace: agents, policies: [web]}\n";
        fs::write(sandbox.dir.join("httpjail/runtime.yaml"), table).unwrap();
        let pod = Pod { sandbox, cgroup };
        let mut config = pod.config("sandbox", &pod.sandbox, "");
        config["process"]["args"] = json!([PYTHON, "-c", SERVER]);
        pod.sandbox.write(&config);
        pod.create(&pod.sandbox);
        pod
    }

    fn create(&self, bundle: &Bundle<'_>) {
        self.call(&["create", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id])
            .run()
            .expect_code(0);
        self.call(&["start", &bundle.id]).run().expect_code(0);
    }

    fn config(&self, kind: &str, bundle: &Bundle<'_>, script: &str) -> Value {
        let mut config = bundle.config(script);
        config["annotations"] = json!({
            "httpjail.policy": "web", "io.kubernetes.cri.sandbox-namespace": "agents",
            "io.kubernetes.cri.container-type": kind, "io.kubernetes.cri.sandbox-id": self.sandbox.id,
        });
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{}/{}", self.sandbox.id, self.cgroup, bundle.id));
        config
    }

    fn call(&self, words: &[&str]) -> JailBuilder<'lab> {
        self.sandbox.call_with(&[], words)
    }

    fn pid(&self) -> i32 {
        let told = self.call(&["state", &self.sandbox.id]).run().expect_code(0);
        let state: Value = serde_json::from_str(&told.stdout).unwrap();
        i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
    }

    /// Runs a container in it to its end.
    fn run(&self, script: &str, change: impl FnOnce(&mut Value)) -> Outcome {
        let member = self.member(script, change);
        self.call(&["run", "--bundle", member.dir.to_str().unwrap(), &member.id])
            .run()
    }

    fn member(&self, script: &str, change: impl FnOnce(&mut Value)) -> Bundle<'lab> {
        let member = Bundle::new(self.sandbox.lab, script);
        let mut config = self.config("container", &member, script);
        let network = format!("/proc/{}/ns/net", self.pid());
        config["linux"]["namespaces"][1]["path"] = json!(network);
        change(&mut config);
        member.write(&config);
        member
    }

    /// The cgroups that are attached to.
    fn attached(&self) -> Vec<String> {
        let of = |pid: i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split('\0');
            words
                .find(|word| *word == "--cgroup")
                .and_then(|_| words.next().map(str::to_owned))
        };
        let mut all: Vec<String> = self.sandbox.attachments().into_iter().filter_map(of).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        self.call(&["delete", "--force", &self.sandbox.id]).run();
        // runc makes the cgroups above a container's, in each hierarchy, and leaves them.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let cgroups = mounts
            .lines()
            .filter_map(|line| line.strip_prefix("cgroup")?.split(' ').nth(1));
        for mount in cgroups {
            let holder = Path::new(mount).join(&self.sandbox.id);
            for below in [self.cgroup, "beside", ""] {
                let _ = fs::remove_dir(holder.join(below));
            }
        }
    }
}

#[test]
fn containers_of_a_pod_are_held_together_and_reach_each_others_localhost() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let pod = Pod::start(&lab, UID);
    pod.run(CLIENT, |_| {}).expect_stdout("200 200 200 403");
    assert!(
        matches!(pod.attached().as_slice(), [one] if one.ends_with(UID)),
        "{:?}",
        pod.attached()
    );
    // Another policy, another place, another network.
    let refused = |change: fn(&mut Value), said: &str| {
        let outcome = pod.run("echo ran", change);
        assert!(!outcome.stdout.contains("ran"), "{outcome:#?}");
        assert!(pod.sandbox.shown().contains(said), "{said}: {}", pod.sandbox.shown());
    };
    refused(
        |config| config["annotations"]["httpjail.policy"] = json!("none"),
        "has another policy",
    );
    refused(
        |config| {
            let path = config["linux"]["cgroupsPath"].as_str().unwrap().replace(UID, "beside");
            config["linux"]["cgroupsPath"] = json!(path);
        },
        "is not below",
    );
    refused(
        |config| config["linux"]["namespaces"][1] = json!({"type": "network"}),
        "another network",
    );
    let requests = lab.requests_for("ok.test").len();
    for pid in pod.sandbox.attachments() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    assert!(eventually(LIMIT, || pod.sandbox.attachments().is_empty()));
    refused(|_| {}, "is not held any more");
    assert_eq!(lab.requests_for("ok.test").len(), requests);
    assert_eq!(lab.requests_for("evil.test").len(), 0);
}

#[test]
fn a_pod_without_a_cgroup_of_its_own_is_held_container_by_container() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let pod = Pod::start(&lab, "others");
    pod.run(IMPATIENT, |_| {}).expect_stdout("000 000 200 403");
    let log = format!("/run/httpjail/containers/{}/attach.log", pod.sandbox.remembered()[0]);
    let said = lab.on_jailside(move || Ok(fs::read_to_string(log)?)).unwrap();
    assert!(said.contains("held by itself"), "{said}");
}

#[test]
fn an_attachment_ends_with_its_pods_sandbox_and_leaves_closed_what_is_left() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let pod = Pod::start(&lab, UID);
    let member = pod.member("sleep 60", |_| {});
    let fetch = || {
        let process = json!({
            "args": ["/bin/sh", "-c", "for h in ok evil; do curl -s -m 10 -o /dev/null -w '%{http_code} ' https://$h.test/; done"],
            "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/usr/bin"],
        });
        let file = lab.file("process.json", process.to_string());
        pod.call(&["exec", "--process", file.to_str().unwrap(), &member.id])
            .run()
    };
    pod.create(&member);
    fetch().expect_stdout("200 403");
    let gone = || eventually(LIMIT, || pod.attached().is_empty());
    assert!(!pod.attached().is_empty());
    pod.call(&["delete", "--force", &pod.sandbox.id]).run().expect_code(0);
    assert!(gone());
    fetch().expect_stdout("000 000");
    pod.call(&["delete", "--force", &member.id]).run().expect_code(0);
    // A new sandbox at the same place holds it again.
    pod.create(&pod.sandbox);
    pod.run(CLIENT, |_| {}).expect_stdout("200 200 200 403");
    pod.call(&["delete", "--force", &pod.sandbox.id]).run().expect_code(0);
    assert!(gone());
    assert_eq!(lab.requests_for("evil.test").len(), 0);
}
