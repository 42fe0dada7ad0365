//! Whatever a jail sends that a terminal would obey or a reader be deceived by: it is shown written out, on the line where it
//! belongs.

use httpjail_lab::{JailBuilder, Lab, Outcome, Way};
use serde_json::Value;

use crate::support::{PYTHON, has_all, is_harmless, lab};

const HOSTILE: &str = include_str!("support/probes/hostile.py");

/// A run of the script in `jail`, which says nothing itself.
fn run(lab: &Lab, jail: JailBuilder<'_>) -> Outcome {
    let script = lab.file("hostile.py", HOSTILE);
    jail.shell(&format!("exec {PYTHON} {} 2>/dev/null", script.display()))
        .run()
}

/// Whether the kernel tells which program it was.
fn knows_programs() -> bool {
    Way::of_this_process() == Way::Ebpf
}

// Proves: K06.
#[test]
fn in_the_json_log() {
    let lab = lab();
    let log = lab.fresh_path("hostile.json");
    run(&lab, lab.jail().log_to(&log));
    let text = std::fs::read_to_string(&log).unwrap();
    is_harmless(&text);
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // What reads the log gets what was there.
    let told = events.iter().map(|event| format!("{event}\n")).collect::<String>();
    has_all(
        &told,
        &[
            "src-path",
            "src-query",
            "src-long",
            "src-host",
            "src-malformed",
            "src-dns",
            "src-plain",
            "malformed tls",
            "not http",
        ],
    );
    assert!(
        events
            .iter()
            .any(|event| event["url"].as_str().is_some_and(|url| url.contains('\u{202e}')))
    );
    if knows_programs() {
        let field = |name: &str, part: &str| {
            let is = |event: &Value| event[name].as_str().is_some_and(|text| text.contains(part));
            assert!(events.iter().any(is), "no {name} with {part:?} in {text}");
        };
        field("comm", "src\u{1b}[1m\n");
        field("exe", "src-exe-\u{1b}[31m");
    }
}

// Proves: K06.
#[test]
fn in_the_text_log() {
    let lab = lab();
    let log = lab.fresh_path("hostile.log");
    let jail = lab.jail().without_log().option("--log").option(&log);
    run(&lab, jail.option("--log-format").option("text"));
    let text = std::fs::read_to_string(&log).unwrap();
    is_harmless(&text);
    has_all(
        &text,
        &[
            "src-path",
            "src-query",
            "src-long",
            "src-host",
            "src-malformed",
            "src-dns",
            r"\u{202e}",
            "not http",
        ],
    );
    if knows_programs() {
        has_all(&text, &[r"comm=", r"src\x1b[1m\x0a", r"src-exe-\x1b[31m"]);
    }
    let stamped = |line: &&str| line.starts_with("20") && line.contains("Z ");
    assert_eq!(text.lines().find(|line| !stamped(line)), None);
}

// Proves: K06.
#[test]
fn on_stderr() {
    for options in [&[][..], &["-v"], &["-vvv"], &["--dns", "relay", "-v"]] {
        let lab = lab();
        let jail = options
            .iter()
            .fold(lab.jail().without_log(), |jail, option| jail.option(option));
        let shown = run(&lab, jail).stderr;
        is_harmless(&shown);
        has_all(&shown, &["src-", "evil.test"]);
        // A line of httpjail's own, or of its tracing, which begins with the time.
        let known = |line: &&str| {
            ["httpjail: ", "hint: ", "warning: ", "20"]
                .iter()
                .any(|start| line.starts_with(start))
        };
        assert_eq!(shown.lines().find(|line| !known(line)), None, "{options:?}: {shown}");
    }
}
