//! Connections on which nothing is asked for: what a client opens and drops is no denial, what waits for its server to speak first
//! is told so in seconds, and a slow client is served.

use httpjail_lab::Outcome;

use crate::support::{Expect as _, PYTHON, has_all, lab};

const ALLOW: &str = r"allow: ^https?://ok\.test/";
/// Opens what programs open: by plan, one connection a word.
const QUIET: &str = include_str!("support/probes/quiet.py");

/// No event of this run denies anything.
#[track_caller]
fn denies_nothing(outcome: &Outcome) {
    let denied = outcome.events_with(&[("verdict", "deny")]);
    // Looking up names probes their addresses by UDP, over which nothing is sent.
    let denied: Vec<_> = denied.into_iter().filter(|event| event["event"] != "probe").collect();
    assert!(denied.is_empty(), "{denied:#?} {outcome:#?}");
}

#[test]
fn what_is_opened_and_dropped_is_no_denial() {
    let lab = lab();
    let probe = lab.file("quiet.py", QUIET);
    let kinds = ["nothing", "reset", "half-hello", "hello", "handshake", "h2"];
    let line = [&[PYTHON, probe.to_str().unwrap(), "ok.test"][..], &kinds].concat();
    let outcome = lab
        .jail()
        .rule(ALLOW)
        .option("--summary")
        .command(&line)
        .run()
        .expect_code(0);
    denies_nothing(&outcome);
    let unused = outcome.events_with(&[("event", "unused"), ("host", "ok.test")]);
    assert_eq!(unused.len(), kinds.len(), "{outcome:#?}");
    let said: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("refused")).collect();
    assert_eq!(said, [""; 0], "{outcome:#?}");
    has_all(&outcome.stderr, &["0 requests allowed, 0 denied; 0 B sent"]);
    // Nor where everything is allowed, in a mode whose hint it would contradict.
    for mode in [&["--log-only"][..], &["--dry-run"], &[]] {
        let jail = mode
            .iter()
            .fold(lab.jail().without_log(), |jail, option| jail.option(option));
        let outcome = jail.command(&line).run().expect_code(0);
        assert_eq!(outcome.stderr, "", "{mode:?}");
    }
    let told = lab
        .jail()
        .without_log()
        .option("-v")
        .command(&line)
        .run()
        .expect_code(0)
        .stderr;
    has_all(
        &told,
        &["httpjail: no request on a connection to ok.test:443 (the client left"],
    );
    // What httpjail lets through is the client's to drop, too: openssl's own way to do it.
    let shake =
        "openssl s_client -connect ok.test:443 -servername ok.test </dev/null 2>/dev/null | grep -c 'BEGIN CERT'";
    let outcome = lab.jail().rule(ALLOW).shell(shake).run().expect_stdout("1");
    denies_nothing(&outcome);
}

// Proves: H19, D01.
#[test]
fn who_waits_for_the_server_is_told_in_seconds() {
    let lab = lab();
    let limits = lab.file("limits.yaml", "limits: {silence-timeout: 0.2}\n");
    let probe = lab.file("quiet.py", QUIET);
    let run = |kinds: &[&str], mode: &[&str]| {
        let jail = lab.jail().option("-c").option(&limits);
        let jail = mode.iter().fold(jail, |jail, option| jail.option(option));
        let line = [&[PYTHON, probe.to_str().unwrap(), "ok.test"][..], kinds].concat();
        jail.option("--summary").command(line).run().expect_code(0)
    };
    for mode in [&["-r", ALLOW][..], &["--log-only"]] {
        let outcome = run(&["wait-3306", "wait-25", "wait-tls"], mode);
        // Each sees an orderly end, and no byte.
        assert_eq!(outcome.stdout.trim(), "b''\nb''\nb''", "{outcome:#?}");
        denies_nothing(&outcome);
        let closed = outcome.events_with(&[("event", "silent"), ("host", "ok.test")]);
        assert_eq!(closed.len(), 3, "{outcome:#?}");
        let why = "(nothing was said for 0.2 s (limits: silence-timeout))";
        for port in [3306, 25, 443] {
            let said = format!("httpjail: closed a connection to ok.test:{port} {why}");
            assert!(outcome.stderr.contains(&said), "{outcome:#?}");
        }
        assert_eq!(outcome.stderr.matches("hint: ").count(), 1, "{outcome:#?}");
        has_all(
            &outcome.stderr,
            &["hint: only HTTP and HTTPS pass, where the client speaks first"],
        );
        has_all(&outcome.stderr, &["0 denied; 0 B sent"]);
    }
    assert!(lab.heard().contacts.all().is_empty());
}

/// What cannot become HTTP is refused when it is said, by the name that it was meant for, and with what can be done instead.
// Proves: H19.
#[test]
fn another_protocol_is_refused_by_name_and_at_once() {
    let lab = lab();
    let probe = lab.file("quiet.py", QUIET);
    let kinds = ["say-ssh", "say-git", "say-mysql", "say-udp"];
    let line = [&[PYTHON, probe.to_str().unwrap(), "git.ok.test"][..], &kinds].concat();
    let outcome = lab
        .jail()
        .rule(ALLOW)
        .option("--summary")
        .command(&line)
        .run()
        .expect_code(0);
    let refused = |port: u16, reason: &str| {
        let found = outcome.events_with(&[("event", "refused"), ("host", "git.ok.test"), ("reason", reason)]);
        let port = format!(":{port}");
        assert!(
            found.len() == 1 && found[0]["dst"].as_str().unwrap().ends_with(&port),
            "{reason}: {outcome:#?}"
        );
        assert!(
            outcome.stderr.contains(&format!(
                "httpjail: refused a connection to git.ok.test{port} ({reason})"
            )),
            "{outcome:#?}"
        );
        let row = format!("1  git.ok.test{port}");
        assert!(outcome.stderr.contains(&row), "no {row} in {}", outcome.stderr);
    };
    refused(22, "not http: ssh");
    refused(9418, "not http: git");
    refused(3306, "not http");
    assert_eq!(
        outcome
            .events_with(&[("event", "blocked"), ("host", "git.ok.test")])
            .len(),
        1,
        "{outcome:#?}"
    );
    has_all(
        &outcome.stderr,
        &[
            "git config --global url.https://git.ok.test/.insteadOf git@git.ok.test:",
            "git config --global url.https://git.ok.test/.insteadOf git://git.ok.test/",
            "hint: only HTTP and HTTPS pass, on any port",
            "httpjail: blocked traffic to git.ok.test:443 (udp is not http)",
        ],
    );
    let addresses = ["198.18.", "198.19.", "2001:2:"];
    assert!(
        !addresses.iter().any(|made_up| outcome.stderr.contains(made_up)),
        "{outcome:#?}"
    );
    assert!(lab.heard().contacts.all().is_empty() && lab.heard().datagrams.all().is_empty());

    // And of what reads the log later.
    let log = lab.fresh_path("later.json");
    lab.jail().log_to(&log).rule(ALLOW).command(&line).run();
    let report = lab
        .unjailed()
        .command([lab.binary(), "report".as_ref(), &log])
        .run()
        .expect_code(0);
    has_all(&report.stdout, &["git.ok.test:22", "git.ok.test:9418"]);
}

/// A handshake, or a head, that takes its time is not lost to a limit that counts silence; its limit is named when it is.
// Proves: D01.
#[test]
fn a_slow_client_is_served() {
    let lab = lab();
    let limits = lab.file("limits.yaml", "limits: {handshake-timeout: 1, header-timeout: 1}\n");
    let probe = lab.file("quiet.py", QUIET);
    let jail = lab.jail().rule(ALLOW).option("-c").option(&limits);
    let line = [PYTHON, probe.to_str().unwrap(), "ok.test", "slowly", "stops"];
    let outcome = jail
        .command(line)
        .run()
        .expect_code(0)
        .expect_stdout("HTTP/1.1 200 OK\nended");
    assert_eq!(
        outcome.events_with(&[("event", "request"), ("verdict", "allow")]).len(),
        1,
        "{outcome:#?}"
    );
    let reason = "silent for 1 s in the TLS handshake (limits: handshake-timeout)";
    assert_eq!(
        outcome.events_with(&[("event", "refused"), ("reason", reason)]).len(),
        1,
        "{outcome:#?}"
    );
}
