//! `httpjail-runc`: containers that are held from their first instruction, by the runtime that is called for them. runc runs them, from
//! bundles of the test's making.

mod pods;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Outcome, canary, eventually, processes_with};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Expect as _, PYTHON, have, lab, repeats};

const LIMIT: Duration = Duration::from_secs(20);
const CURL: &str = "curl -s -m 10 -o /dev/null -w '%{http_code} '";
/// The capabilities that docker gives.
const USUAL: [&str; 5] = [
    "CAP_CHOWN",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETUID",
];

/// A bundle, and root's directory with a policy.
struct Bundle<'lab> {
    lab: &'lab Lab,
    dir: PathBuf,
    runtime: PathBuf,
    id: String,
}

impl<'lab> Bundle<'lab> {
    fn new(lab: &'lab Lab, script: &str) -> Bundle<'lab> {
        let dir = lab.fresh_path("bundle");
        let root = dir.join("rootfs");
        for made in ["usr", "etc/ssl/certs", "proc", "sys", "dev", "tmp", "root"] {
            fs::create_dir_all(root.join(made)).unwrap();
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.join(link)).unwrap();
        }
        fs::write(root.join("etc/resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        // An image with roots of its own, none of which the world has.
        let (theirs, _) = lab.certificate("other.test").unwrap();
        fs::copy(theirs, root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
        let policies = dir.join("httpjail/policies");
        fs::create_dir_all(&policies).unwrap();
        let policy = format!(
            "version: 1\nupstream-ca: ['{}']\nlog: '{}'\nlog-format: json\nrules:\n- {{action: allow, pattern: '^https?://ok\\.test/'}}\n",
            lab.upstream_ca().display(),
            dir.join("log.json").display()
        );
        fs::write(policies.join("web.yaml"), policy).unwrap();
        let runtime = dir.join("httpjail-runc");
        symlink(lab.binary(), &runtime).unwrap();
        let bundle = Bundle {
            lab,
            dir,
            runtime,
            id: format!("runtime-test-{}", canary()),
        };
        bundle.write(&bundle.config(script));
        bundle
    }

    fn config(&self, script: &str) -> Value {
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let capabilities = json!({"bounding": USUAL, "effective": USUAL, "permitted": USUAL});
        json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "args": ["/bin/sh", "-c", script], "cwd": "/", "user": {"uid": 0, "gid": 0},
                "env": ["PATH=/usr/bin:/bin", "HTTPJAIL_POLICY=web", "httpjail.policy=web"], "capabilities": capabilities,
            },
            "mounts": [
                mount("/proc", "proc", &[]),
                mount("/dev", "tmpfs", &["nosuid", "mode=755"]),
                mount("/sys", "sysfs", &["ro", "nosuid"]),
                {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
            ],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "cgroupsPath": format!("/{}", self.id),
            },
        })
    }

    fn write(&self, config: &Value) {
        fs::write(self.dir.join("config.json"), config.to_string()).unwrap();
    }

    fn change(&self, pointer: &str, value: Value) {
        let mut config: Value = serde_json::from_slice(&fs::read(self.dir.join("config.json")).unwrap()).unwrap();
        *config.pointer_mut(pointer).unwrap() = value;
        self.write(&config);
    }

    /// A call of the runtime under the policy `web`.
    fn call(&self, words: &[&str]) -> JailBuilder<'lab> {
        self.call_with(&["--httpjail-policy", "web"], words)
    }

    fn call_with(&self, own: &[&str], words: &[&str]) -> JailBuilder<'lab> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut line = vec![
            text(&self.runtime),
            "--httpjail-dir".into(),
            text(&self.dir.join("httpjail")),
        ];
        line.extend(own.iter().map(|word| (*word).to_owned()));
        line.extend([
            "--root".into(),
            text(&self.dir.join("state")),
            "--log".into(),
            text(&self.dir.join("engine.log")),
        ]);
        line.extend(["--log-format".into(), "json".into()]);
        line.extend(words.iter().map(|word| (*word).to_owned()));
        self.lab.unjailed().command(line)
    }

    fn run(&self) -> Outcome {
        self.call(&["run", "--bundle", self.dir.to_str().unwrap(), &self.id])
            .run()
    }

    /// What an engine would show.
    fn shown(&self) -> String {
        fs::read_to_string(self.dir.join("engine.log")).unwrap_or_default()
    }

    fn attachments(&self) -> Vec<i32> {
        let is_httpjail =
            |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.lab.binary());
        processes_with(&format!("/{}", self.id))
            .into_iter()
            .filter(is_httpjail)
            .collect()
    }

    fn remembered(&self) -> Vec<String> {
        let id = self.id.clone();
        let names = self.lab.on_jailside(move || {
            let entries = fs::read_dir("/run/httpjail/containers").into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            Ok(names.filter(|name| name.starts_with(&id)).collect())
        });
        names.unwrap()
    }
}

impl Drop for Bundle<'_> {
    fn drop(&mut self) {
        let words = [
            "--root",
            self.dir.join("state").to_str().unwrap(),
            "delete",
            "--force",
            &self.id,
        ]
        .map(str::to_owned);
        let _ = self
            .lab
            .unjailed()
            .command(["runc".to_owned()].into_iter().chain(words))
            .run();
    }
}

#[test]
fn a_container_is_judged_from_its_first_connect_and_trusts_the_proxy() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let script =
        format!("{CURL} https://ok.test/a; {CURL} https://evil.test/a; {CURL} http://evil.test/a; env > /tmp/env");
    let bundle = Bundle::new(&lab, &script);
    let times = repeats("HTTPJAIL_TEST_BIRTHS", 2);
    for time in 1..=times {
        let outcome = bundle.run();
        assert_eq!(outcome.stdout.trim(), "200 403 403", "{time}: {outcome:#?}");
    }
    assert_eq!(lab.requests_for("ok.test").len(), times);
    assert_eq!(lab.requests_for("evil.test").len(), 0);
    // What the image has is left as it was.
    let root = bundle.dir.join("rootfs");
    assert!(!root.join("run").exists() && fs::read_dir(root.join("dev")).unwrap().next().is_none());
    let env = fs::read_to_string(root.join("tmp/env")).unwrap();
    assert!(env.contains("SSL_CERT_FILE=/dev/httpjail/ca-bundle.crt"), "{env}");
    assert!(eventually(LIMIT, || bundle.attachments().is_empty()));
    // The same container without the runtime, in the network that the proxy has: everything goes.
    let mut config = bundle.config(&format!("{CURL} http://evil.test/b"));
    config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}]);
    config["mounts"] = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        {"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/resolv.conf", "options": ["bind", "ro"]},
    ]);
    bundle.write(&config);
    let state = bundle.dir.join("state");
    let words = [
        "runc",
        "--root",
        state.to_str().unwrap(),
        "run",
        "--bundle",
        bundle.dir.to_str().unwrap(),
        &bundle.id,
    ];
    lab.unjailed().command(words).run().expect_code(0).expect_stdout("200");
    assert_eq!(lab.requests_for("evil.test").len(), 1);
}

#[test]
fn what_is_executed_in_it_is_held_too_and_kill_9_leaves_it_closed() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let bundle = Bundle::new(&lab, "sleep 60");
    bundle
        .call(&["create", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id])
        .run()
        .expect_code(0);
    bundle.call(&["start", &bundle.id]).run().expect_code(0);
    // As docker does: a description of its own, with its own variables and capabilities.
    let execute = |script: &str, capabilities: &[&str]| {
        let process = json!({
            "args": [PYTHON, "-c", script], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/usr/bin", "https_proxy=http://192.0.2.1"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        });
        let file = lab.file("process.json", process.to_string());
        bundle
            .call(&["exec", "--process", file.to_str().unwrap(), &bundle.id])
            .run()
    };
    let fetch = "import urllib.request as u\ndef get(url):\n  try: return u.urlopen(url, timeout=10).status\n  except u.HTTPError as e: return e.code\n  except Exception as e: return 'none'\n";
    let asked = format!("{fetch}print(get('https://ok.test/'), get('https://evil.test/'))");
    execute(&asked, &USUAL).expect_stdout("200 403");
    // What no program of a cgroup sees.
    let families = "import socket\nfor family in (17, 40, 44, 1, 2):\n  try: socket.socket(family, socket.SOCK_STREAM); print(family, end=' ')\n  except OSError: print('-', end=' ')";
    execute(families, &USUAL).expect_stdout("- - - 1 2");
    let refused = execute("print('ran')", &["CAP_SYS_ADMIN"]);
    assert!(refused.code() != Some(0) && refused.stdout.is_empty(), "{refused:#?}");
    assert!(bundle.shown().contains("CAP_SYS_ADMIN"), "{}", bundle.shown());

    let ours = bundle.attachments();
    assert!(!ours.is_empty());
    for pid in ours {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    assert!(eventually(LIMIT, || bundle.attachments().is_empty()));
    execute(&asked, &USUAL).expect_stdout("none none");
    assert_eq!(lab.requests_for("evil.test").len(), 0);
    assert_eq!(bundle.remembered().len(), 1);
    bundle.call(&["delete", "--force", &bundle.id]).run().expect_code(0);
    assert_eq!(bundle.remembered(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_held_does_not_start_and_the_engine_is_told() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let bundle = Bundle::new(&lab, "echo ran");
    let namespaces = |without: &str| {
        let kinds = ["pid", "network", "mount"].iter().filter(|kind| **kind != without);
        Value::from(kinds.map(|kind| json!({"type": kind})).collect::<Vec<_>>())
    };
    let everything = json!([{"allow": true, "access": "rwm"}]);
    let socket = json!([{"destination": "/s", "type": "bind", "source": "/run", "options": ["rbind"]}]);
    let run = ["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id];
    let restore = ["restore", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id];
    let changes: [(&str, Value, &str); 4] = [
        ("/linux/namespaces", namespaces("network"), "host's network"),
        ("/linux/namespaces", namespaces("pid"), "host's processes"),
        ("/linux/resources/devices", everything, "every device"),
        ("/mounts", socket, "cannot be shown"),
    ];
    let failed = |outcome: Outcome, said: &str| {
        assert!(
            outcome.code() != Some(0) && !outcome.stdout.contains("ran"),
            "{said}: {outcome:#?}"
        );
        assert!(bundle.shown().contains(said), "{said}: {}", bundle.shown());
    };
    for (pointer, value, said) in changes {
        bundle.change(pointer, value);
        failed(bundle.run(), said);
        bundle.write(&bundle.config("echo ran"));
    }
    failed(bundle.call(&restore).run(), "cannot be restored");
    failed(
        bundle.call_with(&["--httpjail-policy", "none"], &run).run(),
        "cannot use the policy `none`",
    );
    failed(
        bundle.call_with(&["--httpjail-policy", "../web"], &run).run(),
        "invalid name of a policy",
    );
    // The attachment finds it, within the hook.
    fs::write(bundle.dir.join("httpjail/policies/bad.yaml"), "version: 1\nrulez: []\n").unwrap();
    failed(bundle.call_with(&["--httpjail-policy", "bad"], &run).run(), "rulez");
    fs::write(
        bundle.dir.join("httpjail/runtime.yaml"),
        "version: 1\nruntime: /usr/bin/env\n",
    )
    .unwrap();
    failed(bundle.call(&run).run(), "cannot be held");
    fs::remove_file(bundle.dir.join("httpjail/runtime.yaml")).unwrap();
    assert_eq!(bundle.remembered(), Vec::<String>::new());
    bundle.run().expect_code(0).expect_stdout("ran");
}

#[test]
fn an_image_that_names_a_policy_is_denied_everything() {
    if !have("runc") {
        return;
    }
    let lab = lab();
    let bundle = Bundle::new(&lab, &format!("{CURL} https://ok.test/"));
    let mut config = bundle.config(&format!("{CURL} https://ok.test/"));
    config["annotations"] = json!({"httpjail.policy": "web", "io.kubernetes.cri.sandbox-namespace": "agents"});
    bundle.write(&config);
    let table = "version: 1\npods:\n- {namespace: agents, policies: [web]}\n";
    fs::write(bundle.dir.join("httpjail/runtime.yaml"), table).unwrap();
    let run = ["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id];
    let outcome = bundle.call_with(&[], &run).run().expect_stdout("403");
    assert!(outcome.stderr.contains("is ignored"), "{outcome:#?}");
    assert_eq!(lab.requests_for("ok.test").len(), 0);
    // Where the engine lets no image say so, the table permits it.
    let believed = bundle.dir.join("httpjail-runc-cri");
    fs::rename(&bundle.runtime, &believed).unwrap();
    let bundle = Bundle {
        runtime: believed,
        id: bundle.id.clone(),
        dir: bundle.dir.clone(),
        lab: &lab,
    };
    bundle.call_with(&[], &run).run().expect_stdout("200");
}
