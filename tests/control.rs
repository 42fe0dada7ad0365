//! The control socket: who reaches it, what it says, and what is left of it.
//!
//! What a jail tries is judged by the socket's own process outside, as everywhere: a program outside asks after it, and what was
//! asked from inside would have had an answer.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Outcome, Running, USER, Way, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Expect as _, PYTHON, lab};

const LIMIT: Duration = Duration::from_secs(30);
/// Where root's sockets are, in the lab's own `/run`.
const ROOT: &str = "/run/httpjail/control";
/// A client of the socket: prints what it is answered, or the name of the error.
const CLIENT: &str = "import json,socket,sys
s = socket.socket(socket.AF_UNIX)
try:
    s.settimeout(20)
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b'\\n')
    print(json.loads(s.makefile().readline() or '{}').get('status', {}).get('name', 'nothing'))
except OSError as error:
    print(type(error).__name__)
";
/// A request that is allowed, and one that is not.
const ASK: &str = "for host in ok evil; do curl -so /dev/null http://$host.test/; done; echo up; read go";
const STATUS: &str = r#"{"v":1,"ask":"status"}"#;

/// `httpjail serve` by this name, serving.
fn serve(lab: &Lab, name: &str, more: &[&str]) -> Running {
    serve_by(lab.unjailed(), lab, name, more)
}

fn serve_by(run: JailBuilder<'_>, lab: &Lab, name: &str, more: &[&str]) -> Running {
    let binary = lab.binary().to_str().unwrap().to_owned();
    let line = [&binary, "serve", "--listen", "127.0.0.1:0", "--name", name];
    let run = run.command([&line, more].concat()).start().unwrap();
    assert!(
        eventually(LIMIT, || run.stderr().contains("serving on")),
        "{}",
        run.stderr()
    );
    run
}

/// One of httpjail's own commands, beside what runs.
fn httpjail(lab: &Lab, run: JailBuilder<'_>, line: &[&str]) -> Outcome {
    let binary = lab.binary().to_str().unwrap().to_owned();
    run.command([&[&*binary], line].concat()).run()
}

fn listed(lab: &Lab) -> Vec<Value> {
    let outcome = httpjail(lab, lab.unjailed(), &["list", "--json"]).expect_code(0);
    let lines = outcome.stdout.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What lies in root's directory, as the lab sees it.
fn sockets(lab: &Lab) -> Vec<String> {
    let names = lab.on_jailside(|| {
        let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
        Ok(entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    });
    names.unwrap()
}

fn socket(name: &str) -> String {
    format!("{ROOT}/{name}.sock")
}

fn client<'lab>(lab: &'lab Lab, run: JailBuilder<'lab>, socket: &str) -> Outcome {
    let script = lab.file("client.py", CLIENT);
    run.command([PYTHON, script.to_str().unwrap(), socket, STATUS]).run()
}

/// A policy file of root's, with this text.
fn policy(lab: &Lab, text: &str) -> PathBuf {
    let folder = lab.dir().join("policy");
    let _ = fs::create_dir(&folder);
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let path = folder.join("rules.yaml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_run_is_listed_while_it_lasts() {
    let lab = lab();
    let log = lab.fresh_path("requests.json");
    let (reader, line) = std::io::pipe().unwrap();
    let run = lab
        .jail()
        .log_to(&log)
        .option("--name")
        .option("web.1")
        .option("--label")
        .option("team=a")
        .rule("allow: ^http://ok\\.test/")
        .stdin_from(reader)
        .shell(ASK)
        .start()
        .unwrap();
    assert!(eventually(LIMIT, || run.stdout() == "up\n"), "{}", run.stderr());
    let runs = listed(&lab);
    let [status] = &runs[..] else { panic!("{runs:#?}") };
    for (field, expected) in [
        ("name", "web.1"),
        ("kind", "jail"),
        ("mode", "enforce"),
        ("holds", &format!("sh -c {ASK}")),
    ] {
        assert_eq!(status[field], expected, "{status:#}");
    }
    assert_eq!(status["labels"], serde_json::json!({"team": "a"}));
    assert_eq!(
        (&status["policy"]["rules"], &status["policy"]["reloads"]),
        (&1.into(), &0.into())
    );
    let table = httpjail(&lab, lab.unjailed(), &["list"]).expect_code(0);
    let row = table.stdout.lines().nth(1).unwrap_or_default();
    assert!(
        row.starts_with("web.1 ") && row.contains(" 2         1 ") && row.ends_with(ASK),
        "{table:#?}"
    );
    let metrics = httpjail(&lab, lab.unjailed(), &["metrics", "web.1"])
        .expect_code(0)
        .stdout;
    for line in [
        r#"httpjail_requests_total{name="web.1",verdict="allow",method="GET",status="2xx"} 1"#,
        r#"httpjail_requests_total{name="web.1",verdict="deny",method="GET",status="4xx"} 1"#,
        r#"httpjail_refused_total{name="web.1",class="denied"} 1"#,
        r#"httpjail_answer_seconds_count{name="web.1"} 1"#,
        r#"httpjail_upstreams_dialed_total{name="web.1"} 1"#,
        "httpjail_silent_runs 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }
    assert!(metrics.contains(r#"label_team="a"} 1"#), "{metrics}");
    drop(line);
    let outcome = run.wait().unwrap();
    assert!(!outcome.events.is_empty());
    for event in &outcome.events {
        assert_eq!(
            (&event["name"], &event["labels"]["team"]),
            (&"web.1".into(), &"a".into()),
            "{event:#}"
        );
    }
    assert_eq!((listed(&lab), sockets(&lab)), (Vec::new(), Vec::new()));
}

#[test]
fn one_that_was_killed_is_gone() {
    let lab = lab();
    let living = serve(&lab, "living", &[]);
    let kill = |names: [&str; 2]| {
        let runs = names.map(|name| serve(&lab, name, &[]));
        runs.iter().for_each(|run| run.signal(Signal::SIGKILL));
    };
    kill(["one", "two"]);
    assert_eq!(sockets(&lab).len(), 3);
    let names: Vec<Value> = listed(&lab).iter().map(|status| status["name"].clone()).collect();
    assert_eq!(names, ["living"]);
    assert_eq!(sockets(&lab), ["living.sock"]);
    // A new run removes them, too, and takes the name of a dead one, but not that of a living one.
    kill(["one", "two"]);
    let again = serve(&lab, "one", &[]);
    let mut left = sockets(&lab);
    left.sort_unstable();
    assert_eq!(left, ["living.sock", "one.sock"]);
    httpjail(
        &lab,
        lab.unjailed(),
        &["serve", "--listen", "127.0.0.1:0", "--name", "living"],
    )
    .expect_code(125)
    .expect_stderr_has("a run of the name living is under way");
    drop((living, again));
}

#[test]
fn nobody_but_its_owner_reaches_it() {
    let lab = lab();
    let _run = serve(&lab, "owned", &[]);
    let path = socket("owned");
    let (directory, file) = lab
        .on_jailside(|| Ok((fs::metadata(ROOT)?, fs::metadata(socket("owned"))?)))
        .unwrap();
    assert_eq!((directory.mode() & 0o777, file.mode() & 0o777), (0o700, 0o600));
    client(&lab, lab.unjailed(), &path).expect_stdout("owned");
    client(&lab, lab.unjailed().as_user(), &path).expect_stdout("PermissionError");
    // Nor with a door that its owner left open: it is asked who comes.
    let open = |mode| {
        lab.on_jailside(move || {
            fs::set_permissions(ROOT, Permissions::from_mode(mode))?;
            Ok(fs::set_permissions(socket("owned"), Permissions::from_mode(mode))?)
        })
    };
    open(0o777).unwrap();
    let stranger = client(&lab, lab.unjailed().as_user(), &path).expect_code(0);
    // By one error or another, as the race between its words and the end goes.
    assert_ne!(stranger.stdout.trim(), "owned", "{stranger:#?}");
    client(&lab, lab.unjailed(), &path).expect_stdout("owned");
    open(0o700).unwrap();
    // A user has a place of the user's own, where root can look.
    let _own = serve_by(lab.unjailed().as_user(), &lab, "users", &["--ephemeral-ca"]);
    let home = lab.home(USER).join(".local/state/httpjail/control/users.sock");
    client(&lab, lab.unjailed().as_user(), home.to_str().unwrap()).expect_stdout("users");
    client(&lab, lab.unjailed(), home.to_str().unwrap()).expect_stdout("users");
    let users = httpjail(&lab, lab.unjailed().as_user(), &["list"]).expect_code(0);
    assert!(
        users.stdout.contains("users") && !users.stdout.contains("owned"),
        "{users:#?}"
    );
}

// Proves on ebpf, netns: S30.
#[test]
fn no_jail_reaches_it() {
    let lab = lab();
    let (_run, path) = (serve(&lab, "outside", &[]), socket("outside"));
    // By another name, in a directory that jails see.
    let link = lab.fresh_path("second.sock");
    let linked = lab
        .on_jailside(|| Ok(fs::hard_link(socket("outside"), &link).is_ok()))
        .unwrap();
    let link = link.to_str().unwrap().to_owned();
    let names: Vec<&str> = [&*path, &*link].into_iter().take(1 + usize::from(linked)).collect();
    for name in names {
        client(&lab, lab.unjailed(), name).expect_stdout("outside");
        for jail in [lab.jail(), lab.jail().as_user(), lab.jail().way(Way::Netns)] {
            let tried = client(&lab, jail, name).expect_code(0);
            assert!(tried.stdout.trim().ends_with("Error"), "{name}: {tried:#?}");
        }
        httpjail(&lab, lab.unjailed(), &["--allow-socket", name, "--", "true"])
            .expect_code(2)
            .expect_stderr_has("it is a control socket of httpjail");
    }
    // Its own neither.
    let own = lab.jail().option("--name").option("inner");
    let tried = client(&lab, own, &socket("inner")).expect_code(0);
    assert!(tried.stdout.trim().ends_with("Error"), "{tried:#?}");
}

#[test]
fn a_reload_on_demand_is_that_of_sighup() {
    let lab = lab();
    let path = policy(&lab, "rules: []\n");
    let log = lab.fresh_path("serve.json");
    let (name, log_name) = (path.to_str().unwrap(), log.to_str().unwrap());
    let run = serve(
        &lab,
        "judge",
        &["--config", name, "--log", log_name, "--log-format", "json"],
    );
    let reloads = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let reloads = events.filter(|event| event["event"] == "reload");
        reloads
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let hung_up = |text: &str| {
        policy(&lab, text);
        let before = reloads().len();
        run.signal(Signal::SIGHUP);
        assert!(eventually(LIMIT, || reloads().len() > before), "{}", run.stderr());
        reloads().pop()
    };
    let asked = |text: &str, code| {
        policy(&lab, text);
        let told = httpjail(&lab, lab.unjailed(), &["reload", "judge"]).expect_code(code);
        (told, reloads().pop())
    };
    let two = "rules:\n- {action: allow, host: a.test}\n- {action: deny, host: b.test}\n";
    let (told, reason) = asked(two, 0);
    assert_eq!(reason.as_deref(), Some("policy reloaded, 2 rules"));
    assert!(told.stderr.contains("httpjail: judge: 2 rules in force"), "{told:#?}");
    assert_eq!(hung_up(two), reason);
    let (told, reason) = asked("rulez: []\n", 1);
    assert!(
        told.stderr.contains("the old one stays in force") && told.stderr.contains("`rulez`"),
        "{told:#?}"
    );
    assert_eq!(hung_up("rulez: []\n"), reason);
    let status = &listed(&lab)[0]["policy"];
    assert_eq!(
        (&status["rules"], &status["file"]),
        (&2.into(), &name.into()),
        "{status:#}"
    );
    assert!(
        status["failure"]["reason"].as_str().unwrap().contains("`rulez`"),
        "{status:#}"
    );
    // A jail's is read by another process than the one that is asked.
    let (reader, _line) = std::io::pipe().unwrap();
    let jail = lab
        .jail()
        .as_user()
        .option("--name")
        .option("jailed")
        .option("--config")
        .option(&path);
    policy(&lab, "rules: []\n");
    let jail = jail.stdin_from(reader).shell("echo up; read go").start().unwrap();
    assert!(eventually(LIMIT, || jail.stdout() == "up\n"), "{}", jail.stderr());
    policy(&lab, two);
    let all = httpjail(&lab, lab.unjailed(), &["reload", "--all"]).expect_code(0);
    assert!(
        all.stderr.contains("judge: 2 rules") && all.stderr.contains("jailed: 2 rules"),
        "{all:#?}"
    );
    httpjail(&lab, lab.unjailed(), &["reload", "nobody"])
        .expect_code(125)
        .expect_stderr_has("no run of the name nobody");
    drop(run);
}

/// Connects as root does, and says this.
fn say(lab: &Lab, name: &str, bytes: &[u8]) -> UnixStream {
    let mut stream = lab.on_jailside(|| Ok(UnixStream::connect(socket(name))?)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // It may have been closed already.
    let _ = stream.write_all(bytes);
    stream
}

#[test]
fn a_hostile_client_keeps_nobody_waiting() {
    let lab = lab();
    let run = serve(&lab, "busy", &[]);
    let memory = || {
        let status = fs::read_to_string(Path::new("/proc").join(run.pid().to_string()).join("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap()
            .to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let answered = |bytes: &[u8]| {
        let mut text = String::new();
        // What was cut off in the middle of its line is reset.
        let _ = say(&lab, "busy", bytes).read_to_string(&mut text);
        text
    };
    for (said, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "error"),
        (b"\xff\xfe\n", "error"),
        (b"{\"v\":2,\"ask\":\"status\"}\n", "expected version 1"),
        (b"{\"v\":1,\"ask\":\"detach\"}\n", "unknown variant"),
    ] {
        let answer = answered(said);
        assert!(answer.contains(expected), "{answer}");
    }
    let before = memory();
    let endless = answered(&vec![b'x'; 1 << 20]);
    assert!(!endless.contains("status"), "{endless}");
    // A thousand that say nothing, or read nothing, and one that asks.
    let idle: Vec<UnixStream> = (0..1000)
        .map(|number| {
            say(
                &lab,
                "busy",
                if number % 2 == 0 {
                    b""
                } else {
                    b"{\"v\":1,\"ask\":\"status\"}\n"
                },
            )
        })
        .collect();
    let answer = answered(format!("{STATUS}\n").as_bytes());
    assert!(answer.contains("\"name\":\"busy\""), "{answer}");
    let after = memory();
    assert!(after < before + 4096, "{before} kB, {after} kB");
    drop(idle);
}
