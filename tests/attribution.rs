//! Whose each record is: the process as the host counts, what it runs, who started it, whichever way the jail is steered.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use httpjail_lab::{Outcome, canary, eventually, processes_with};
use serde_json::Value;

use crate::learn::project;
use crate::support::{Expect as _, PYTHON, have, lab, repeats};

const ALLOW: &str = r"allow: ^https?://[a-z]*\.test/";

/// The requests of a run, each with the whole of what is told of its process.
#[track_caller]
fn attributed(outcome: &Outcome) -> Vec<&Value> {
    let events = outcome.events_with(&[("event", "request")]);
    assert!(!events.is_empty(), "{outcome:#?}");
    for event in &events {
        for name in ["pid", "cgroup"] {
            assert!(event[name].is_number(), "{name} in {event:#} of {outcome:#?}");
        }
        for name in ["exe", "comm", "cmdline"] {
            assert!(event[name].is_string(), "{name} in {event:#} of {outcome:#?}");
        }
        // The command itself was started by none of the jail's programs.
        for parent in event["parents"].as_array().into_iter().flatten() {
            let name = parent["name"].as_str().unwrap();
            assert!(parent["pid"].is_number() && name.starts_with('/'), "{event:#}");
        }
    }
    events
}

fn ends(event: &Value, program: &str) -> bool {
    event["exe"]
        .as_str()
        .is_some_and(|exe| exe.ends_with(&format!("/{program}")))
}

fn parent(event: &Value) -> &str {
    event["parents"][0]["name"].as_str().unwrap_or_default()
}

/// The host's own count, not the jail's, and also where the jail is a user's.
// Proves: P18.
#[test]
fn the_process_is_named_as_the_host_counts() {
    let lab = lab();
    let [log, go] = ["log.json", "go"].map(|name| lab.fresh_path(name));
    let mark = canary();
    let script = "import os, sys, time, urllib.request\n\
        print(urllib.request.urlopen('http://ok.test/').status, flush=True)\n\
        while not os.path.exists(sys.argv[1]): time.sleep(0.05)";
    let line = [
        PYTHON.as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        go.as_os_str(),
        mark.as_ref(),
    ];
    let jail = lab.jail().rule(ALLOW).log_to(&log).command(line).start().unwrap();
    assert!(
        eventually(Duration::from_secs(30), || jail.stdout() == "200\n"),
        "{}",
        jail.stderr()
    );
    let runs = |pid: &i32| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe.to_string_lossy().contains("python"))
    };
    let host: Vec<i32> = processes_with(&mark).into_iter().filter(runs).collect();
    std::fs::write(&go, "").unwrap();
    let outcome = jail.wait().unwrap().expect_code(0);
    let [event] = attributed(&outcome)[..] else {
        panic!("{outcome:#?}")
    };
    assert_eq!(
        event["pid"].as_i64().map(|pid| vec![pid as i32]),
        Some(host),
        "{event:#}"
    );
    assert!(event["cmdline"].as_str().unwrap().ends_with(&mark), "{event:#}");
}

/// Each asks once and is gone with the answer.
// Proves: P18.
#[test]
fn a_hundred_programs_that_end_at_once() {
    let lab = lab();
    let count = repeats("HTTPJAIL_TEST_PROGRAMS", 100);
    let script =
        format!("for i in $(seq {count}); do curl -sS -o /dev/null --max-time 50 http://ok.test/$i & done; wait");
    let outcome = lab.jail().rule(ALLOW).shell(&script).run().expect_code(0);
    let events = attributed(&outcome);
    let right = events.iter().filter(|event| {
        let [url, cmdline] = ["url", "cmdline"].map(|name| event[name].as_str().unwrap());
        cmdline.ends_with(url) && ends(event, "curl") && event["comm"] == "curl" && !parent(event).ends_with("curl")
    });
    let pids: BTreeSet<u64> = events.iter().filter_map(|event| event["pid"].as_u64()).collect();
    assert_eq!(
        (events.len(), right.count(), pids.len()),
        (count, count, count),
        "{outcome:#?}"
    );
}

/// A connection that several have open is of the one from whom the others have it.
// Proves: P18.
#[test]
fn who_inherits_a_connection_did_not_make_it() {
    let lab = lab();
    let heir = "(printf 'GET /x HTTP/1.0\\r\\nHost: ok.test\\r\\n\\r\\n' >&3; cat <&3 >/dev/null)";
    let script = format!("exec 3<>/dev/tcp/ok.test/80; {heir}; : end");
    let outcome = lab
        .jail()
        .rule(ALLOW)
        .command(["bash", "-c", &script])
        .run()
        .expect_code(0);
    let [event] = attributed(&outcome)[..] else {
        panic!("{outcome:#?}")
    };
    assert!(ends(event, "bash") && event["parents"] == Value::Null, "{event:#}");
}

/// One program after another on one connection would be the first: those that share nothing are told apart.
#[test]
fn programs_one_after_another() {
    let lab = lab();
    let script = "curl -sS -o /dev/null https://ok.test/curl; \
        python3 -c 'import urllib.request; urllib.request.urlopen(\"http://ok.test/python\").read()'; \
        bash -c 'exec 3<>/dev/tcp/ok.test/80; printf \"GET /bash HTTP/1.0\\r\\nHost: ok.test\\r\\n\\r\\n\" >&3; cat <&3 > /dev/null; :'";
    let outcome = lab.jail().rule(ALLOW).shell(script).run().expect_code(0);
    let events = attributed(&outcome);
    let mut told: Vec<(String, bool)> = Vec::new();
    for event in &events {
        let path = event["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let right = event["exe"].as_str().unwrap().contains(&path);
        told.push((path, right));
    }
    let wanted = ["curl", "python", "bash"].map(|name| (name.to_owned(), true));
    assert_eq!(told, wanted, "{outcome:#?}");
    assert_eq!(events[0]["parents"], events[1]["parents"]);
}

#[test]
fn git_clone_and_its_helpers() {
    if !have("git") {
        return;
    }
    let lab = lab();
    lab.git_repository("project").unwrap();
    let script = "cd && git clone -q https://ok.test/git/project.git && cat project/file";
    let outcome = lab
        .jail()
        .rule(ALLOW)
        .shell(script)
        .run()
        .expect_code(0)
        .expect_stdout("content");
    for event in attributed(&outcome) {
        // git-remote-https, which git starts.
        assert!(event["exe"].as_str().unwrap().contains("git-remote-http"), "{event:#}");
        assert!(parent(event).ends_with("/git"), "{event:#}");
    }
}

#[test]
fn npm_install() {
    if !have("npm") {
        return;
    }
    let lab = lab();
    let folder = project(&lab, "");
    let quiet = "--no-audit --no-fund --no-update-notifier --no-package-lock --fetch-retries 0";
    let install = |folder: &Path, cache: &Path| {
        let registry = "--registry https://registry.test/git/npm/";
        let (folder, cache) = (folder.display(), cache.display());
        format!("cd {folder} && npm install {quiet} {registry} --cache {cache} && ls node_modules")
    };
    let jail = lab
        .jail()
        .rule(ALLOW)
        .shell(&install(&folder, &lab.fresh_path("cache")));
    let outcome = jail.run().expect_code(0);
    assert!(outcome.stdout.ends_with("small\n"), "{outcome:#?}");
    for event in attributed(&outcome) {
        assert!(ends(event, "node") || ends(event, "nodejs"), "{event:#}");
        assert!(parent(event).contains("sh"), "{event:#}");
    }
}

/// What a program asks for over a connection that it keeps is told without another look: all of it is of one process.
#[test]
fn a_kept_connection_stays_its_programs() {
    let lab = lab();
    let urls: Vec<String> = (0..20).map(|number| format!("https://ok.test/{number}")).collect();
    let mut line = vec!["curl", "-sS", "-o", "/dev/null"];
    line.extend(urls.iter().flat_map(|url| [url.as_str(), "-o", "/dev/null"]));
    line.truncate(line.len() - 2);
    let outcome = lab.jail().rule(ALLOW).command(line).run().expect_code(0);
    let events = attributed(&outcome);
    let pids: BTreeSet<u64> = events.iter().filter_map(|event| event["pid"].as_u64()).collect();
    assert_eq!((events.len(), pids.len()), (20, 1), "{outcome:#?}");
}

/// The one in which the process is: the jail's own, or where that could not have one the caller's.
#[test]
fn the_cgroup_is_the_processs() {
    let lab = lab();
    let script = "curl -sS -o /dev/null http://ok.test/1; curl -sS -o /dev/null http://ok.test/2";
    let outcome = lab.jail().rule(ALLOW).shell(script).run().expect_code(0);
    let cgroups: BTreeSet<u64> = attributed(&outcome)
        .iter()
        .filter_map(|event| event["cgroup"].as_u64())
        .collect();
    assert!(cgroups.len() == 1 && !cgroups.contains(&0), "{cgroups:?}");
}
