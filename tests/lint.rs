//! `httpjail lint`: what is wrong with a policy, on stdout, with an exit status for scripts.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = "\
rules:
  - {action: allow, pattern: 'github.com', name: code}
  - {action: allow, host: api.example.com, path: /v1/*}
  - {action: deny, host: api.example.com, path: /v1/admin/*}
";
const LOG: &str = concat!(
    r#"{"event":"request","verdict":"allow","method":"GET","url":"https://api.example.com/v1/x"}"#,
    "\n",
);

/// Exit status, stdout and stderr of `httpjail lint ARGUMENTS`, in a folder with the files.
fn lint(arguments: &[&str]) -> (Option<i32>, String, String) {
    let files = TempDir::new().unwrap();
    fs::write(files.path().join("r.yaml"), POLICY).unwrap();
    fs::write(files.path().join("log.jsonl"), LOG).unwrap();
    let binary = std::env::var_os("HTTPJAIL_TEST_BINARY").unwrap_or(env!("CARGO_BIN_EXE_httpjail").into());
    let done = Command::new(fs::canonicalize(Path::new(&binary)).unwrap())
        .arg("lint")
        .args(arguments)
        .current_dir(files.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[track_caller]
fn check(arguments: &[&str], status: i32, stdout: &str) {
    let (code, out, err) = lint(arguments);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(status), stdout, ""),
        "{arguments:?}"
    );
}

#[test]
fn clean() {
    let (code, out, err) = lint(&["-r", r"allow: ^https://a\.test/", "-r", "deny: .*"]);
    let told = "httpjail: nothing is wrong with 2 rules\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", told));
    check(&["--json", "-r", r"allow: ^https://a\.test/"], 0, "");
}

#[test]
fn findings_show_a_request_and_what_to_write() {
    check(
        &["-c", "r.yaml"],
        1,
        "\
r.yaml:2: unpinned: `allow: github.com` is not pinned to a host
  shown by: GET https://evil.example/?github.com
  write: allow: ^https://github\\.com/
r.yaml:4: shadowed: `deny: host api.example.com path /v1/admin/*` is never reached: rule `allow: host api.example.com path /v1/*` (r.yaml:3) matches first whatever it matches
  shown by: GET https://api.example.com/v1/admin/
  hint: put it before rule `allow: host api.example.com path /v1/*` (r.yaml:3), or remove it
",
    );
}

#[test]
fn json_and_a_log() {
    let (code, out, err) = lint(&["-c", "r.yaml", "--log", "log.jsonl", "--json"]);
    assert_eq!((code, err.as_str()), (Some(1), ""));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<(&Value, &Value)> = lines.iter().map(|line| (&line["kind"], &line["source"])).collect();
    assert_eq!(
        json!(kinds),
        json!([
            ["unpinned", "r.yaml:2"],
            ["never-matched", "r.yaml:2"],
            ["shadowed", "r.yaml:4"],
            ["never-matched", "r.yaml:4"],
        ])
    );
    assert_eq!(
        lines[0],
        json!({
            "kind": "unpinned",
            "rule": "allow: github.com",
            "name": "code",
            "source": "r.yaml:2",
            "message": "is not pinned to a host",
            "request": "GET https://evil.example/?github.com",
            "mended": r"allow: ^https://github\.com/",
            "hint": lines[0]["hint"],
        })
    );
}

#[test]
fn bad_input() {
    for (arguments, message) in [
        (&["-r", "allow-gte: x"][..], "hint: did you mean `get`?"),
        (&["-r", "allow: ("], "unclosed group"),
        (&["-c", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (
            &["-r", "allow: .*", "--log", "r.yaml"],
            "no line of it is a JSON record",
        ),
        (&["-r", "allow: .*", "--log", "nowhere"], "cannot read the log nowhere"),
        (&[], "hint: -r RULE or -c FILE gives it"),
    ] {
        let (code, out, err) = lint(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains(message), "{arguments:?}: {err}");
    }
}
