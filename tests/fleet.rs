//! A policy that a server has, for many machines: what is not signed, not newer or not whole never comes into force.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use httpjail_lab::{Lab, eventually};
use serde_json::Value;

use crate::support::{Expect as _, PYTHON, binary, has_all, have, lab};

const SERVER: &str = include_str!("support/probes/policy_server.py");
const LIMIT: Duration = Duration::from_secs(30);
const URL: &str = "https://policy.test:9611/web.yaml";
const ALLOWS: &str = "version: 1\nrules:\n- {action: allow, host: evil.test}\n";
const DENIES: &str = "version: 1\nrules:\n- {action: deny, host: evil.test}\n";

/// A server with a policy, and a machine that fetches it.
struct Fleet<'lab> {
    lab: &'lab Lab,
    server: Child,
    /// What the server has.
    served: PathBuf,
    /// What the machine has.
    own: PathBuf,
}

impl Fleet<'_> {
    fn start(lab: &Lab) -> Fleet<'_> {
        let folder = |name: &str| {
            let path = lab.dir().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            path
        };
        let (served, own) = (folder("served"), folder("own"));
        let script = lab.file("policy_server.py", SERVER);
        let (certificate, key) = lab.certificate("policy.test").unwrap();
        let mut server = lab
            .on_world(|| {
                let mut command = Command::new(PYTHON);
                command.args([&script, &served, &certificate, &key]);
                Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
            })
            .unwrap();
        let mut said = String::new();
        let answers = server.stdout.take().unwrap();
        BufReader::new(answers).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n");
        let fleet = Fleet {
            lab,
            server,
            served,
            own,
        };
        for key in ["key", "other"] {
            ok(&fleet.policy(&["keygen", fleet.at(key).to_str().unwrap()]));
        }
        fleet
    }

    fn at(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    /// The policy file that is kept.
    fn file(&self) -> PathBuf {
        self.at("web.yaml")
    }

    fn policy(&self, arguments: &[&str]) -> Output {
        Command::new(binary()).arg("policy").args(arguments).output().unwrap()
    }

    /// Signs a policy with a key of the machine's, and puts both on the server.
    fn publish(&self, text: &str, key: &str, serial: u64, expires: &str) {
        let path = self.served.join("web.yaml");
        fs::write(&path, text).unwrap();
        let (key, serial) = (self.at(key), serial.to_string());
        let words = ["sign", path.to_str().unwrap(), "--key", key.to_str().unwrap()];
        ok(&self.policy(&[&words[..], &["--serial", &serial, "--expires", expires]].concat()));
    }

    /// What the server does with a file instead of sending it; nothing else if that is empty.
    fn server_does(&self, name: &str, what: &str) {
        let path = self.served.join(format!("{name}.does"));
        match what {
            "" => fs::remove_file(path).unwrap(),
            what => fs::write(path, what).unwrap(),
        }
    }

    /// The command that fetches, with `before` in front of it.
    fn command(&self, before: &[&str], more: &[&str]) -> Command {
        let mut words: Vec<&str> = before.to_vec();
        let (binary, key, file, ca) = (binary(), self.at("key.pub"), self.file(), self.lab.upstream_ca());
        words.extend([binary.to_str().unwrap(), "policy", "fetch", URL]);
        words.extend(["--key", key.to_str().unwrap(), "--to", file.to_str().unwrap()]);
        words.extend(["--ca", ca.to_str().unwrap()]);
        words.extend(more);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Fetches once.
    fn fetch(&self, more: &[&str]) -> Output {
        let mut command = self.command(&[], &[&["--once"], more].concat());
        self.lab.on_jailside(|| Ok(command.output()?)).unwrap()
    }

    /// Fetches what must not be taken: the file stays, and `why` is said and kept for whoever watches.
    #[track_caller]
    fn refuses(&self, why: &str) {
        let before = fs::read(self.file()).unwrap();
        let outcome = self.fetch(&["--timeout", "2"]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(said.contains(why), "no {why:?} in {said}");
        assert_eq!(fs::read(self.file()).unwrap(), before, "{why}");
        let state = self.state();
        assert!(state["last_error"].as_str().unwrap().contains(why), "{state}");
        assert_ne!(state["failures"], 0);
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.at("web.yaml.state")).unwrap()).unwrap()
    }

    /// What the server was asked for since the last time.
    fn asked(&self) -> String {
        let path = self.served.join("asked");
        let asked = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        asked
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[track_caller]
fn ok(outcome: &Output) {
    assert!(outcome.status.success(), "{outcome:?}");
}

/// A jail that reloads the file judges by the last good policy all the time.
// Proves on ebpf, netns, rootless, attach, weak: P34.
#[test]
fn what_does_not_count_never_judges() {
    let lab = lab();
    let fleet = Fleet::start(&lab);
    fleet.publish(ALLOWS, "key", 7, "1d");
    ok(&fleet.fetch(&[]));
    assert_eq!(fs::read_to_string(fleet.file()).unwrap(), ALLOWS);

    let (reader, mut line) = std::io::pipe().unwrap();
    let ask = "curl -s -o /dev/null -w '%{http_code}\\n' http://evil.test/";
    let jail = lab
        .jail()
        .as_user()
        .log_to(lab.fresh_path("log"))
        .option("--config")
        .option(fleet.file());
    let run = jail
        .stdin_from(reader)
        .shell(&format!("{ask}; read go; {ask}; read go; {ask}"))
        .start()
        .unwrap();
    let answers = |count: usize| {
        let came = eventually(LIMIT, || run.stdout().lines().count() >= count);
        assert!(came, "{}{}", run.stdout(), run.stderr());
    };
    answers(1);

    fleet.publish(DENIES, "key", 6, "1d");
    fleet.refuses("its serial is 6, older than 7");
    fleet.publish(DENIES, "key", 7, "1d");
    fleet.refuses("as that of another policy");
    fleet.publish(DENIES, "other", 8, "1d");
    fleet.refuses("not among those that are trusted");
    fleet.publish(DENIES, "key", 8, "1s");
    let signature = fleet.served.join("web.yaml.sig");
    assert!(eventually(LIMIT, || !fleet
        .policy(&[
            "verify",
            fleet.served.join("web.yaml").to_str().unwrap(),
            "--key",
            fleet.at("key.pub").to_str().unwrap()
        ])
        .status
        .success()));
    fleet.refuses("it expired at");
    fleet.publish(DENIES, "key", 8, "1d");
    let good = fs::read_to_string(&signature).unwrap();
    fs::write(&signature, good.replace("serial: 8", "serial: 9")).unwrap();
    fleet.refuses("has not signed it");
    fs::write(&signature, good.replace("expires: 2", "expires: 3")).unwrap();
    fleet.refuses("has not signed it");
    fs::write(&signature, "<html>").unwrap();
    fleet.refuses("no signature of a policy");
    fs::write(&signature, &good).unwrap();
    fs::write(fleet.served.join("web.yaml"), DENIES.replace("evil", "good")).unwrap();
    fleet.refuses("it is about another policy");
    fs::write(fleet.served.join("web.yaml"), DENIES).unwrap();
    for (what, why) in [
        ("truncate", "the server broke off"),
        ("endless", "is larger than"),
        ("redirect", "redirects are not followed"),
        ("encode", "which was not asked for"),
        ("hang", "took longer than 2 s"),
    ] {
        fleet.server_does("web.yaml", what);
        fleet.refuses(why);
    }
    fleet.server_does("web.yaml", "");
    fs::rename(&signature, fleet.served.join("hidden")).unwrap();
    fleet.refuses("the server answered 404");
    writeln!(line).unwrap();
    answers(2);

    // The same server with the same machine, and nothing wrong.
    fs::rename(fleet.served.join("hidden"), &signature).unwrap();
    ok(&fleet.fetch(&[]));
    assert_eq!(
        (&fleet.state()["held"]["policy"]["serial"], &fleet.state()["failures"]),
        (&8.into(), &0.into())
    );
    let reloaded = || run.stderr().contains("the policy was reloaded");
    assert!(eventually(LIMIT, reloaded), "{}", run.stderr());
    writeln!(line).unwrap();
    run.wait().unwrap().expect_code(0).expect_stdout("200\n200\n403");
}

#[test]
fn what_is_held_is_not_downloaded_again() {
    let lab = lab();
    let fleet = Fleet::start(&lab);
    fleet.publish(ALLOWS, "key", 1, "1d");
    ok(&fleet.fetch(&[]));
    assert_eq!(fleet.asked(), "/web.yaml.sig - 200\n/web.yaml - 200\n");
    ok(&fleet.fetch(&[]));
    assert_eq!(fleet.asked(), "/web.yaml.sig tag 304\n");
    // The same policy, signed anew.
    fleet.publish(ALLOWS, "key", 2, "2d");
    ok(&fleet.fetch(&[]));
    assert_eq!(fleet.asked(), "/web.yaml.sig tag 200\n");
    assert_eq!(fleet.state()["held"]["policy"]["serial"], 2);
    // What is not as it was taken is taken again.
    fs::write(fleet.file(), "rules: []\n").unwrap();
    ok(&fleet.fetch(&[]));
    assert_eq!(fleet.asked(), "/web.yaml.sig - 200\n/web.yaml - 200\n");
    assert_eq!(fs::read_to_string(fleet.file()).unwrap(), ALLOWS);
    assert!(fs::metadata(fleet.file()).unwrap().permissions().mode() & 0o777 == 0o644);
}

/// Whatever stops it, the file is a whole policy that counts, and the next one comes.
// Proves on ebpf, netns, rootless, attach, weak: P34.
#[test]
fn it_may_be_killed_at_any_write() {
    if !have("strace") {
        return;
    }
    let lab = lab();
    let fleet = Fleet::start(&lab);
    fleet.publish(ALLOWS, "key", 1, "1d");
    ok(&fleet.fetch(&[]));
    let mut killed = 0;
    for (serial, (call, count)) in (2..).zip([("rename", 1), ("rename", 2), ("rename", 3), ("fsync", 1), ("fsync", 3)])
    {
        let before = fs::read_to_string(fleet.file()).unwrap();
        let new = format!("{ALLOWS}# {serial}\n");
        fleet.publish(&new, "key", serial, "1d");
        let inject = format!("--inject={call}:signal=SIGKILL:when={count}");
        let trace = fleet.at("trace");
        let strace = ["strace", "-o", trace.to_str().unwrap(), &inject];
        let mut command = fleet.command(&strace, &["--once"]);
        let outcome = lab.on_jailside(|| Ok(command.output()?)).unwrap();
        killed += usize::from(!outcome.status.success());
        let found = fs::read_to_string(fleet.file()).unwrap();
        assert!(found == before || found == new, "{call} {count}: {found}");
        ok(&fleet.fetch(&[]));
        assert_eq!(fs::read_to_string(fleet.file()).unwrap(), new, "{call} {count}");
        assert_eq!(fleet.state()["held"]["policy"]["serial"], serial);
    }
    assert_eq!(killed, 5);
}

/// A process that goes on looks by itself, denies what has expired, and takes the next policy.
// Proves on ebpf, netns, rootless, attach, weak: P34.
#[test]
fn what_expires_denies_until_there_is_another() {
    let lab = lab();
    let fleet = Fleet::start(&lab);
    fleet.publish(ALLOWS, "key", 1, "4s");
    let mut command = fleet.command(&[], &["--every", "1s"]);
    let mut child = lab.on_jailside(|| Ok(command.stderr(Stdio::piped()).spawn()?)).unwrap();
    let holds = |text: &str| {
        eventually(LIMIT, || {
            fs::read_to_string(fleet.file()).is_ok_and(|found| found.contains(text))
        })
    };
    assert!(holds("action: allow"));
    assert!(holds("the signed policy with the serial 1 expired at"));
    assert!(
        eventually(LIMIT, || fleet.state()["in_force"] == "denied"),
        "{}",
        fleet.state()
    );
    let lint = Command::new(binary())
        .args(["check", "-c"])
        .arg(fleet.file())
        .arg("http://evil.test/")
        .output();
    assert_eq!(lint.unwrap().status.code(), Some(1));
    // One at a time.
    let second = fleet.fetch(&[]);
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("cannot lock"),
        "{second:?}"
    );
    fleet.publish(ALLOWS, "key", 2, "1d");
    assert!(holds("action: allow"));
    assert_eq!(fleet.state()["in_force"], "policy");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
}

/// The process that talks to the server has no right, and a user of its own.
// Proves on ebpf, netns, rootless, attach, weak: P34.
#[test]
fn who_downloads_has_no_rights() {
    let lab = lab();
    let fleet = Fleet::start(&lab);
    fleet.publish(ALLOWS, "key", 1, "1d");
    fleet.server_does("web.yaml", "hang");
    let mut command = fleet.command(&[], &["--once"]);
    let mut child = lab.on_jailside(|| Ok(command.stderr(Stdio::null()).spawn()?)).unwrap();
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut seen = String::new();
    let settled = eventually(LIMIT, || {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        seen = children.split_whitespace().map(status).collect();
        seen.contains("NoNewPrivs:\t1") && fs::exists(fleet.served.join("asked")).unwrap()
    });
    assert!(settled, "{seen}");
    has_all(
        &seen,
        &[
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
        ],
    );
    let user = seen
        .lines()
        .find_map(|line| line.strip_prefix("Uid:\t"))
        .unwrap()
        .to_owned();
    let first: u32 = user.split('\t').next().unwrap().parse().unwrap();
    assert!(first >= 60_000, "{user}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_begin_says_why() {
    let lab = lab();
    let own = lab.dir().join("own");
    fs::create_dir(&own).unwrap();
    let httpjail = |words: &[&str]| Command::new(binary()).arg("policy").args(words).output().unwrap();
    let key = own.join("key");
    let key = key.to_str().unwrap();
    ok(&httpjail(&["keygen", key]));
    let public = format!("{key}.pub");
    let wrong = |words: &[&str], code: i32, why: &str| {
        let outcome = httpjail(words);
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.status.code(), Some(code), "{said}");
        assert!(said.contains(why), "no {why:?} in {said}");
    };
    wrong(&["keygen", key], 125, "cannot write");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let bad = lab.file("bad.yaml", "rules:\n- {action: denny, host: a.test}\n");
    let bad = bad.to_str().unwrap();
    wrong(
        &["sign", bad, "--key", key, "--serial", "1", "--expires", "1d"],
        2,
        "bad.yaml:2:12",
    );
    let good = lab.file("good.yaml", ALLOWS);
    let good = good.to_str().unwrap();
    let groups = lab.file("groups.yaml", "groups-from: other.yaml\nuse: x\n");
    let groups = groups.to_str().unwrap();
    wrong(
        &["sign", groups, "--key", key, "--serial", "1", "--expires", "1d"],
        2,
        "cannot take groups",
    );
    wrong(
        &[
            "sign",
            bad,
            "--key",
            key,
            "--serial",
            "1",
            "--expires",
            "2020-01-01T00:00:00Z",
        ],
        2,
        "it is past",
    );
    wrong(
        &["sign", good, "--key", &public, "--serial", "1", "--expires", "1d"],
        2,
        "cannot use the key",
    );
    let to = own.join("web.yaml");
    let to = to.to_str().unwrap();
    wrong(
        &["fetch", "http://a.test/p", "--key", &public, "--to", to],
        2,
        "expected https://",
    );
    wrong(&["fetch", URL, "--key", key, "--to", to], 2, "cannot use the key");
    wrong(
        &["fetch", URL, "--key", &public, "--to", to, "--ca", bad],
        2,
        "holds no certificate",
    );
    fs::write(own.join("web.yaml.state"), "{").unwrap();
    wrong(
        &["fetch", URL, "--key", &public, "--to", to, "--once"],
        125,
        "cannot use",
    );
    fs::remove_file(own.join("web.yaml.state")).unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
    wrong(
        &["fetch", URL, "--key", &public, "--to", to, "--once"],
        125,
        "can be written by others",
    );
    assert!(!Path::new(to).exists());
}
