//! When something fails, the command does not run, the exit status says whose fault it was, and nothing is left.

use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, canary, processes_with};

use crate::support::{Expect as _, PYTHON, curl_status, have, lab, repeats};

const ESCAPE: &str = include_str!("support/probes/escape.py");

/// Runs a command that leaves a file behind; it must not, and httpjail must exit with `code`.
#[track_caller]
fn check(code: i32, prepare: impl for<'lab> Fn(&'lab Lab, JailBuilder<'lab>) -> JailBuilder<'lab>) {
    let lab = lab();
    let (mark, ran) = (canary(), lab.fresh_path("ran"));
    let script = format!("touch {}; : {mark}", ran.display());
    let outcome = prepare(&lab, lab.jail()).shell(&script).run().expect_code(code);
    assert!(!ran.exists(), "the command ran: {outcome:#?}");
    assert!(outcome.stderr.contains("error: "), "{outcome:#?}");
    assert_eq!(processes_with(&mark), Vec::<i32>::new());
}

#[test]
fn nothing_is_wrong_with_the_check() {
    let lab = lab();
    let ran = lab.fresh_path("ran");
    lab.jail()
        .shell(&format!("touch {}", ran.display()))
        .run()
        .expect_code(0);
    assert!(ran.exists());
}

// Proves: H06.
#[test]
fn bad_rules() {
    for rule in [
        "allow",
        "permit: x",
        "allow-fetch: x",
        "allow: (",
        "allow: a\u{8}b",
        ": x",
        "",
    ] {
        check(2, |_, jail| jail.rule(rule));
    }
}

// Proves: H06.
#[test]
fn bad_files() {
    let files = [
        "rules: [",
        "rules:\n- action: allow\n",
        "rules:\n- action: maybe\n  pattern: x\n",
        "unknown: 1\n",
        "\u{0}",
    ];
    for content in files {
        check(2, |lab, jail| {
            jail.option("--config").option(lab.file("rules.yaml", content))
        });
    }
    check(2, |lab, jail| jail.option("--config").option(lab.dir()));
    check(2, |_, jail| jail.option("--config").option("/no/such/file"));
    check(2, |_, jail| jail.option("--upstream-ca").option("/no/such/file"));
}

// Proves: K08, K10.
#[test]
fn a_file_that_the_caller_may_not_read() {
    check(2, |lab, jail| {
        let secret = lab.file("secret.yaml", "rules: []\n");
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        jail.as_user().option("--config").option(secret)
    });
}

#[test]
fn a_log_that_cannot_be_written() {
    check(125, |_, jail| jail.log_to("/dev/full"));
    check(125, |_, jail| jail.log_to("/no/such/folder/log"));
}

#[test]
fn a_place_for_the_authority_that_is_taken() {
    check(125, |lab, jail| {
        let config = lab.home("root").join(".config");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("httpjail"), "a file where a folder should be").unwrap();
        jail
    });
}

/// Each call of bpf(2) fails in turn: either httpjail gives up before the command starts, or the jail holds.
// Proves: S37.
#[test]
fn an_attachment_that_fails() {
    if !have("strace") {
        return;
    }
    let lab = lab();
    let probe = lab.file("escape.py", ESCAPE);
    lab.jail().command(["true"]).run().expect_code(0);
    let mut refused = 0;
    for call in 1..=repeats("HTTPJAIL_TEST_BPF_CALLS", 40) {
        let (mark, ran, trace) = (canary(), lab.fresh_path("ran"), lab.fresh_path("trace"));
        let script = format!("touch {}; {PYTHON} {} udp4 {mark}", ran.display(), probe.display());
        let inject = format!("inject=bpf:error=EINVAL:when={call}");
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            trace.to_str().unwrap(),
            "-e",
            "trace=bpf",
            "-e",
            &inject,
        ];
        let outcome = lab.jail().rule("allow: .*").through(strace).shell(&script).run();
        if !std::fs::read_to_string(&trace).unwrap_or_default().contains("INJECTED") {
            break;
        }
        assert!(!lab.wire().saw(&mark), "call {call}: {outcome:#?}");
        match outcome.code() {
            Some(125) => {
                assert!(!ran.exists(), "call {call}: the command ran: {outcome:#?}");
                refused += 1;
            }
            // Some calls only ask what the kernel can do.
            code => assert!(code == Some(0) && ran.exists(), "call {call}: {outcome:#?}"),
        }
    }
    assert!(refused > 0, "no call of bpf(2) was ever made to fail");
}

/// The proxy is another user than root by then, and may not be signalled: it ends with its line.
#[test]
fn root_that_may_not_kill_comes_to_an_end() {
    let lab = lab();
    let without_kill = |rights: &str| {
        let set = |which: &str| format!("--{which}=-all,{rights}");
        lab.jail()
            .limit(Duration::from_secs(40))
            .through(["setpriv".to_owned(), set("inh-caps"), set("bounding-set")])
    };
    let enough = "+net_admin,+sys_admin,+dac_override,+setuid,+setgid,+setpcap,+net_bind_service,+sys_ptrace";
    without_kill(enough).shell("exit 7").run().expect_code(7);
    without_kill(enough).command(["no-such-command"]).run().expect_code(127);
    without_kill(enough)
        .option("--timeout")
        .option("1")
        .option("--user")
        .option("nobody")
        .command(["sleep", "600"])
        .run()
        .expect_code(124);
    // Too few for a jail: it says so.
    without_kill("+setuid,+setgid,+setpcap")
        .command(["true"])
        .run()
        .expect_code(125)
        .expect_stderr_has("error: ");
}

#[test]
fn an_upstream_that_fails_says_how() {
    let lab = lab();
    let status = |url: &str| {
        let outcome = curl_status(lab.jail().rule("allow: ^https?://[a-z.]*test"), &[url]).run();
        (outcome.stdout.clone(), outcome)
    };
    lab.resolve("nobody.test", &["198.51.100.4".parse().unwrap()]);
    let (code, outcome) = status("http://nobody.test:81/");
    assert_eq!(code, "502", "{outcome:#?}");
    let wrong_port = curl_status(lab.jail().rule(r"allow: ^https://ok\.test"), &["https://ok.test:80/"]).run();
    assert_eq!(wrong_port.stdout, "502", "{wrong_port:#?}");
}

// Proves: T01.
#[test]
fn an_untrusted_upstream_is_refused() {
    let lab = lab();
    let line = lab.jail().rule(r"allow: ^https://ok\.test/").without_upstream_ca();
    let outcome = curl_status(line, &["https://ok.test/"]).run();
    assert_eq!(outcome.stdout, "502", "{outcome:#?}");
    assert_eq!(lab.requests_for("ok.test").len(), 0);
}
