//! What is said of options and files: their author may not know what is in them.

use std::path::Path;

use crate::support::{Expect as _, has_all, is_harmless, lab};

/// What a terminal would obey, or a reader be deceived by. What goes on the second line would pass for a message, were it a line.
const EVIL: &str = "\u{1b}[31m\u{9b}1m\r\nforged: line\u{7}\u{202e}\u{2066}\u{200b}";

#[test]
fn what_a_terminal_would_obey_is_written_out() {
    let lab = lab();
    let file = |name: &str, text: &str| lab.file(name, text).to_str().unwrap().to_owned();
    let name = EVIL.replace('/', "");
    let escaped = r"\e[31m\x9b1m\r\nforged: line\a\u202e";
    let policies = [
        file(&name, "rules: [\n"),
        file(
            "name.yaml",
            &format!("rules: [{{action: allow, name: \"{escaped}\", pattern: x}}]\nbad: 1\n"),
        ),
        file(
            "warned.yaml",
            &format!("rules: [{{action: allow, name: \"{escaped}\", pattern: x}}]\ntimeout: 0.01\n"),
        ),
        file("key.yaml", &format!("\"{escaped}\": 1\n")),
        file(
            "rule-key.yaml",
            &format!("rules: [{{action: allow, \"{escaped}\": 1}}]\n"),
        ),
        file("word.yaml", &format!("dns: \"{escaped}\"\n")),
        file("action.yaml", &format!("rules: [{{action: \"{escaped}\", host: a}}]\n")),
        file(
            "method.yaml",
            &format!("rules: [{{action: allow, host: a, methods: [\"{escaped}\"]}}]\n"),
        ),
        file(
            "pattern.yaml",
            &format!("rules: [{{action: allow, pattern: \"{escaped}\"}}]\n"),
        ),
        file(
            "host.yaml",
            &format!("rules: [{{action: allow, host: \"{escaped}\"}}]\n"),
        ),
        file(
            "path.yaml",
            &format!("rules: [{{action: allow, host: a, path: \"{escaped}\"}}]\n"),
        ),
        file("log.yaml", &format!("log: \"/nowhere/{escaped}\"\n")),
        file("raw.yaml", &format!("rules: {EVIL}\n")),
        file("tag.yaml", &format!("rules: !<{}> x\n", EVIL.replace("\r\n", ""))),
    ];
    let nowhere = format!("/nowhere/{EVIL}");
    let pattern = format!("allow: {EVIL}");
    let (rule, method) = (format!("{EVIL}: x"), format!("allow-{EVIL}: x"));
    let unclosed = "allow: (\u{202e}\u{2066}".to_owned();
    let option = format!("--{EVIL}");
    let mut table: Vec<Vec<&str>> = policies
        .iter()
        .map(|policy| vec!["-c", policy, "--", "no-such-command"])
        .collect();
    for option in [
        "-c",
        "--config",
        "--log",
        "--upstream-ca",
        "--user",
        "--allow-socket",
        "--publish",
        "--backend",
        "--dns",
        "--timeout",
        "--log-format",
        "-r",
    ] {
        table.push(vec![option, EVIL, "--", "no-such-command"]);
        table.push(vec![option, &nowhere, "--", "no-such-command"]);
    }
    table.extend([&pattern, &rule, &method, &unclosed].map(|rule| vec!["-r", rule, "--", "no-such-command"]));
    table.extend([
        vec!["--", EVIL],
        vec!["--", &nowhere],
        vec!["--weak", "--", EVIL],
        vec![&option],
        vec![EVIL],
        vec!["ca", EVIL],
        vec!["serve", "--listen", EVIL],
        vec!["serve", "--auth", EVIL],
        vec!["serve", "-c", EVIL],
        vec!["attach", "--cgroup", EVIL, "-r", "allow: x"],
        vec!["detach", "--cgroup", EVIL],
    ]);
    for line in table {
        let binary = lab.binary().to_str().unwrap();
        let outcome = lab.unjailed().command([binary].iter().chain(&line)).run();
        println!("{line:?}: {:?}", outcome.status);
        is_harmless(&outcome.stderr);
        is_harmless(&outcome.stdout);
        assert_ne!(outcome.code(), Some(0), "{line:?}: {outcome:#?}");
        has_all(&outcome.stderr, &["error: "]);
    }
}

/// What the host or the caller lacks is told with what mends it, and not as a fault of every backend.
#[test]
fn what_is_lacking_is_named() {
    let lab = lab();
    let binary = lab.binary().to_str().unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let run = ["--ephemeral-ca", "-r", "deny: .*", "--", "true"];
    let alone = [&nobody[..], &["unshare", "-Ur", binary], &run].concat();
    let few = [&["sh", "-c", "ulimit -n 20; exec \"$@\"", "sh", binary], &run[..]].concat();
    let homeless = ["env", "HOME=/nowhere/at/all", binary, "-r", "deny: .*", "--", "true"];
    let attach = [&nobody[..], &[binary, "attach", "--cgroup", "x", "-r", "deny: .*"]].concat();
    let detach = [&nobody[..], &[binary, "detach", "--all"]].concat();
    let log = [&["env", "HOME=/root", binary, "--log", "/nowhere/log"], &run[..]].concat();
    for (line, words) in [
        (
            &alone[..],
            &["hint: this root is of a user namespace that knows no other user"][..],
        ),
        (
            &few,
            &[
                "Too many open files",
                "hint: this process may open too few files: raise `ulimit -n`",
            ],
        ),
        (
            &homeless,
            &["the home /nowhere/at/all does not exist", "hint: set HOME"],
        ),
        (&attach, &["attach needs root", "hint: run httpjail with sudo"]),
        (&detach, &["detach needs root", "hint: run httpjail with sudo"]),
        (
            &log,
            &["cannot open the log /nowhere/log", "hint: --log FILE names another"],
        ),
    ] {
        let outcome = lab.unjailed().command(line).run().expect_code(125);
        has_all(&outcome.stderr, words);
        assert!(!outcome.stderr.contains("no backend works here"), "{outcome:#?}");
    }
    assert!(!Path::new("/nowhere").exists());
}
