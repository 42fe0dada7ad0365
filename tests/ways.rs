//! The same behaviour whichever way traffic is steered, and whoever starts the jail: every test of this suite, over every
//! way. What cannot be had in one of them stands here, with the reason.
//!
//! The suite itself speaks of `ebpf` by root. Here it is run again, by calling this same test program with another way in
//! its environment; [`EXCEPTIONS`] is the whole difference.

use std::collections::BTreeSet;
use std::process::Command;

use httpjail_lab::Way;

use crate::support::{Expect as _, lab, repeats};

/// Topics in which no jail is started, or whose tests choose the way themselves, or to which the way makes no difference.
const OTHER_TOPICS: [&str; 23] = [
    "answers",
    "attach",
    "bad_policies",
    "check",
    "cmd",
    "control",
    "design",
    "differential",
    "examples",
    "fleet",
    "hosts",
    "http1",
    "kubernetes",
    "lab",
    "learn",
    "lint",
    "messages",
    "readme",
    "runtime",
    "shells",
    "strangers",
    "ways",
    "weak",
];

/// What a way cannot promise. `*` at the end stands for any ending.
const EXCEPTIONS: [(&str, &[Way], &str); 14] = [
    (
        "unix_sockets::users_within_are_themselves",
        &[Way::Rootless],
        "there are no other users",
    ),
    (
        "pool::other_users_get_none",
        &[Way::Rootless],
        "an ordinary user's pool is in a folder of that user's alone",
    ),
    (
        "faults::an_attachment_that_fails",
        &[Way::Netns, Way::Rootless],
        "nothing is attached",
    ),
    (
        "faults::root_that_may_not_kill_comes_to_an_end",
        &[Way::Rootless],
        "nobody is root",
    ),
    (
        "identity::the_proxy_is_a_user_that_nobody_else_is",
        &[Way::Rootless],
        "the proxy is the caller's, for he may become nobody else",
    ),
    (
        "identity::by_root_it_stays_root_without_the_capabilities",
        &[Way::Rootless],
        "nobody is root",
    ),
    (
        "identity::under_sudo_it_is_the_caller",
        &[Way::Rootless],
        "supplementary groups are kept but cannot be named in a user namespace of one's own",
    ),
    (
        "faults::a_place_for_the_authority_that_is_taken",
        &[Way::Rootless],
        "the place that the test takes is root's",
    ),
    (
        "owner::a_learnt_policy_that_a_link_leads_away",
        &[Way::Rootless],
        "--user needs root",
    ),
    (
        "programs::the_trust_store_can_be_renewed",
        &[Way::Rootless],
        "nobody is root, who alone may",
    ),
    (
        "regression::a_log_that_a_link_leads_away",
        &[Way::Rootless],
        "--user needs root",
    ),
    (
        "regression::a_socket_bound_through_a_descriptor",
        &[Way::Rootless],
        "what another user's process has open cannot be looked at: there is a warning for each such socket",
    ),
    (
        "trust::a_strict_umask_hides_nothing_from_the_user_and_stays",
        &[Way::Rootless],
        "the place that the test looks into is root's",
    ),
    (
        "trust::the_authority_is_shown_and_is_the_one_that_jails_trust",
        &[Way::Rootless],
        "the authority that the test asks for is root's",
    ),
];

/// Runs all tests of a topic that `way` can promise, in this program started anew.
#[track_caller]
fn check(way: Way, topic: &str) {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests
        .env("HTTPJAIL_TEST_WAY", way.name())
        .args(["--test-threads", "1", &format!("{topic}::")]);
    for (name, ways, reason) in EXCEPTIONS {
        if ways.contains(&way) && name.starts_with(&format!("{topic}::")) {
            eprintln!("not {}: {name}: {reason}", way.name());
            tests.args(["--skip", name]);
        }
    }
    let outcome = tests.output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&outcome.stdout),
        String::from_utf8_lossy(&outcome.stderr),
    );
    assert!(outcome.status.success(), "{topic} over {}: {out}\n{err}", way.name());
    assert!(!out.contains("running 0 tests"), "no test of {topic}: {out}");
    eprintln!("{out}");
}

/// One test a topic and way, so that a failure is found by its name and the rest goes on.
macro_rules! table {
    ($($topic:ident)*) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];
        mod netns { $(#[test] fn $topic() { super::check(super::Way::Netns, stringify!($topic)); })* }
        mod rootless { $(#[test] fn $topic() { super::check(super::Way::Rootless, stringify!($topic)); })* }
    };
}

table! { approve attribution cgroups clients devices dns escapes exit_status faults fronting heads hostile identity leftovers log memory named_pipes owner pool programs publish regression reload silence spellings surroundings terminal terminals torture trust unix_sockets upstream verdicts }

/// A topic or an exception that nobody knows any more would be a hole in the table.
#[test]
fn the_table_is_whole() {
    let listed = Command::new(std::env::current_exe().unwrap())
        .arg("--list")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let topics: BTreeSet<&str> = tests.iter().filter_map(|test| test.split("::").next()).collect();
    assert_eq!(topics, TOPICS.iter().chain(&OTHER_TOPICS).copied().collect());
    for (name, ..) in EXCEPTIONS {
        assert!(tests.contains(&name), "no such test: {name}");
    }
}

/// What this process's way cannot promise, for who runs single tests of it (`cargo xtask vm`), a line each.
#[test]
fn exceptions() {
    let way = Way::of_this_process();
    println!();
    for (name, ways, reason) in EXCEPTIONS {
        assert!(!ways.is_empty() && !reason.is_empty(), "{name}");
        if ways.contains(&way) {
            println!("skip {name}");
        }
    }
}

/// What the host's network and mounts look like, by the host's own tools. But for named network namespaces,
/// which are other programs' (tests/strangers.rs), and for the sockets by which the runs' owner asks them (tests/control.rs).
fn host() -> String {
    let tools = "nft list ruleset; ip rule; ip -6 rule; ip addr; ip route show table all; ip -6 route show table all; \
                 mount | grep -v ' on /run/netns/'; cat /etc/resolv.conf; ls -lR -I control /run /var/run 2>/dev/null";
    let told = Command::new("sh").args(["-c", tools]).output().unwrap();
    String::from_utf8_lossy(&told.stdout).into_owned()
}

#[test]
fn nothing_on_the_host_changes() {
    for way in [Way::Netns, Way::Rootless] {
        let lab = lab();
        // The lab's own files must be there for whoever starts the jail.
        std::fs::set_permissions(lab.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        lab.jail().way(way).command(["true"]).run().expect_code(0);
        let seen = || lab.on_jailside(|| Ok(host())).unwrap();
        let before = seen();
        assert!(before.contains("j0"), "{before}");
        let jails: Vec<_> = (0..repeats("HTTPJAIL_TEST_JAILS_AT_ONCE", 5))
            .map(|_| {
                let wait = "echo up; read line";
                let jail = lab.jail().way(way).stdin_from(std::process::Stdio::piped()).shell(wait);
                jail.start().unwrap()
            })
            .collect();
        for jail in &jails {
            assert!(
                httpjail_lab::eventually(std::time::Duration::from_secs(20), || jail.stdout() == "up\n"),
                "{}",
                jail.stderr()
            );
        }
        assert_eq!(seen(), before, "while jails run");
        for jail in &jails {
            jail.signal(nix::sys::signal::Signal::SIGKILL);
        }
        for jail in jails {
            assert_eq!(jail.wait().unwrap().signal(), Some(9));
        }
        assert_eq!(seen(), before, "after they were killed");
    }
}

/// A run is the same over each backend: what is allowed, what is denied and by which rule, the command's exit status, and that of
/// a time-out.
#[test]
fn the_same_verdicts_over_each_backend() {
    for backend in ["ebpf", "netns", "weak"] {
        let lab = lab();
        let jail = || {
            let jail = lab.jail().option("--backend").option(backend);
            jail.rule("deny: ^https://ok\\.test/no")
                .rule("allow-get: ^https://ok\\.test/")
        };
        let script =
            "curl -sSf https://ok.test/bytes/5; curl -sS -o /dev/null -w %{http_code} https://ok.test/no; exit 7";
        let outcome = jail().shell(script).run().expect_code(7).expect_stdout("xxxxx403");
        let record = |url: &str, verdict: &str, rule: &str| {
            let fields = [("event", "request"), ("url", url), ("verdict", verdict), ("rule", rule)];
            assert_eq!(outcome.events_with(&fields).len(), 1, "{backend}: {outcome:#?}");
        };
        record("https://ok.test/bytes/5", "allow", "allow-get: ^https://ok\\.test/");
        record("https://ok.test/no", "deny", "deny: ^https://ok\\.test/no");
        jail()
            .option("--timeout")
            .option("1")
            .command(["sleep", "60"])
            .run()
            .expect_code(124)
            .expect_stderr_has("--timeout");
    }
}
