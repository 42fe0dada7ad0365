//! What is said of options and files: their author may not know what is in them.

use crate::support::{has_all, is_harmless, lab};

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
