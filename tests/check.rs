//! `httpjail check` and `httpjail schema`: what a policy says of requests, on stdout, with an exit status for scripts.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = "\
version: 1
groups-from: team/groups.yaml
rules:
  - {action: deny, pattern: telemetry, name: no telemetry}
  - use: forge
  - {action: allow, host: api.example.com, path: /v1/*, methods: [get]}
tests:
  - {request: GET https://api.example.com/v1/x, verdict: allow}
  - {request: POST https://api.example.com/v1/x, verdict: deny}
";
const GROUPS: &str = "groups:\n  forge:\n    - {action: allow, host: git.example.com}\n";
const LOG: &str = concat!(
    r#"{"event":"start","session":"s","seq":1}"#,
    "\n",
    r#"{"event":"request","verdict":"deny","method":"POST","url":"https://api.example.com/v1/x"}"#,
    "\n",
    r#"{"event":"request","verdict":"allow","method":"GET","url":"https://git.example.com/x"}"#,
    "\n",
    r#"{"event":"request","verdict":"deny","method":"POST","url":"https://api.example.com/v1/x"}"#,
    "\n",
);

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(TempDir::new().unwrap());
        fs::create_dir(files.0.path().join("team")).unwrap();
        files.write("r.yaml", POLICY);
        files.write("team/groups.yaml", GROUPS);
        files.write("log.jsonl", LOG);
        files.write("open.yaml", &POLICY.replace(", methods: [get]", ""));
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Exit status, stdout and stderr of `httpjail ARGUMENTS`, in the folder of the files.
    fn httpjail(&self, arguments: &[&str], stdin: &str) -> (Option<i32>, String, String) {
        let binary = std::env::var_os("HTTPJAIL_TEST_BINARY").unwrap_or(env!("CARGO_BIN_EXE_httpjail").into());
        let binary = fs::canonicalize(Path::new(&binary)).unwrap();
        let mut child = Command::new(binary)
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What reads none of it has ended already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let done = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    }

    /// The same is this, and there are no complaints.
    #[track_caller]
    fn check(&self, arguments: &[&str], status: i32, stdout: &str) {
        let (code, out, err) = self.httpjail(&[&["check"], arguments].concat(), "");
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (Some(status), stdout, ""),
            "{arguments:?}"
        );
    }

    /// It is refused, with this in the complaint.
    #[track_caller]
    fn refused(&self, arguments: &[&str], complaint: &str) {
        let (code, out, err) = self.httpjail(&[&["check"], arguments].concat(), "");
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(complaint), "{arguments:?}: {err}");
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_request_and_why() {
    let files = Files::new();
    files.check(
        &["-c", "r.yaml", "https://api.example.com/v1/x"],
        0,
        "allow GET https://api.example.com/v1/x\n\
         \x20 r.yaml:4: `deny: telemetry` (no telemetry): the pattern is not found\n\
         \x20 team/groups.yaml:3: `allow: host git.example.com`: another host\n\
         \x20 r.yaml:6: `allow-get: host api.example.com path /v1/*`: matches\n\
         \x20 the address of api.example.com is not looked up\n",
    );
    files.check(
        &[
            "-c",
            "r.yaml",
            "-r",
            "deny-put: .*",
            "post",
            "https://api.example.com/v1/x",
        ],
        1,
        "deny POST https://api.example.com/v1/x\n\
         \x20 -r 1: `deny-put: .*`: another method\n\
         \x20 r.yaml:4: `deny: telemetry` (no telemetry): the pattern is not found\n\
         \x20 team/groups.yaml:3: `allow: host git.example.com`: another host\n\
         \x20 r.yaml:6: `allow-get: host api.example.com path /v1/*`: another method\n\
         \x20 no rule matches\n",
    );
    files.check(&["https://a.test/"], 1, "deny GET https://a.test/\n  no rule matches\n");
    // What clients do not escape is judged as it is sent.
    files.check(
        &[
            "-r",
            r"allow: ^https://a\.test/\?q=stars:%3E1000$",
            "https://a.test/?q=stars:>1000",
        ],
        0,
        "allow GET https://a.test/?q=stars:%3E1000\n\
         \x20 -r 1: `allow: ^https://a\\.test/\\?q=stars:%3E1000$`: matches\n\
         \x20 the address of a.test is not looked up\n",
    );
    // Without interception HTTPS shows its host alone.
    let rule = r"allow: ^https://a\.test/$";
    files.check(
        &["--no-tls-intercept", "-r", rule, "https://a.test/x"],
        0,
        "allow CONNECT https://a.test/\n  -r 1: `allow: ^https://a\\.test/$`: matches\n  \
         the address of a.test is not looked up\n",
    );
    files.check(
        &["-r", rule, "https://a.test/x"],
        1,
        "deny GET https://a.test/x\n  -r 1: `allow: ^https://a\\.test/$`: another path\n  no rule matches\n",
    );
}

#[test]
fn what_is_not_decrypted_is_judged_by_its_host() {
    let files = Files::new();
    files.write(
        "p.yaml",
        "tls: {passthrough: a.test}\nrules:\n- {action: allow, pattern: '^https://[ab]\\.test/$'}\n",
    );
    let line = |url: &str, verdict: &str| {
        let (_, out, _) = files.httpjail(&["check", "-c", "p.yaml", url], "");
        assert_eq!(out.lines().next(), Some(verdict));
    };
    line("https://a.test/x", "allow CONNECT https://a.test/");
    line("https://b.test/x", "deny GET https://b.test/x");
    line("http://a.test/x", "deny GET http://a.test/x");
}

/// A run refuses what leads to this host or into a private network unless a rule names that host alone.
#[test]
fn addresses_are_part_of_the_verdict() {
    let files = Files::new();
    let refused = |rule: &str, url: &str, class: &str, meant: &str| {
        let said = format!(
            "deny GET {url}\n  -r 1: `{rule}`: matches\n  {class} address: it needs a rule that names this host alone, before \
             that one\n  write: {meant}\n"
        );
        files.check(&["-r", rule, url], 1, &said);
        files.check(
            &["-r", meant, url],
            0,
            &format!("allow GET {url}\n  -r 1: `{meant}`: matches\n"),
        );
    };
    refused(
        "allow: ^http://10.0.0.1/",
        "http://10.0.0.1/",
        "private",
        r"allow: ^http://10\.0\.0\.1/",
    );
    let metadata = r"allow: ^http://169\.254\.169\.254/";
    refused("allow: .", "http://169.254.169.254/x", "link-local", metadata);
    refused(
        "allow: .",
        "http://localhost:3000/",
        "loopback",
        "allow: ^http://localhost:3000/",
    );
    refused("allow: .", "https://[::1]/", "loopback", r"allow: ^https://\[::1\]/");
    files.check(
        &["-r", "allow: .", "https://192.0.2.1/"],
        0,
        "allow GET https://192.0.2.1/\n  -r 1: `allow: .`: matches\n",
    );
    files.check(
        &["-r", "allow: .", "https://a.test/"],
        0,
        "allow GET https://a.test/\n  -r 1: `allow: .`: matches\n  the address of a.test is not looked up: a private one needs \
         a rule that names this host alone\n",
    );
    // Tests that cannot hold fail.
    files.write(
        "private.yaml",
        "rules:\n- {action: allow, pattern: .}\ntests:\n- {request: http://10.0.0.1/, verdict: allow}\n",
    );
    files.check(
        &["-c", "private.yaml"],
        1,
        "FAIL private.yaml:4: GET http://10.0.0.1/: wanted allow, and it is deny (private.yaml:2: `allow: .`, but: private \
         address)\n",
    );
    let (code, out, _) = files.httpjail(&["check", "--json", "-r", "allow: .", "http://10.0.0.1/"], "");
    let line = objects(&out).remove(0);
    assert_eq!(
        (code, &line["verdict"], &line["reason"], &line["write"]),
        (
            Some(1),
            &json!("deny"),
            &json!("private address"),
            &json!(r"allow: ^http://10\.0\.0\.1/")
        )
    );
}

#[test]
fn a_policy_from_stdin() {
    let files = Files::new();
    let check = |stdin: &str| files.httpjail(&["check", "-c", "-", "https://a.test/"], stdin);
    let (code, out, err) = check("rules:\n- {action: deny, host: a.test}\n");
    let told = "deny GET https://a.test/\n  stdin:2: `deny: host a.test`: matches\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(1), told, ""));
    let (code, _, err) = check("rules:\n- acton: deny\n");
    assert!(
        code == Some(2) && err.contains("stdin:2:3: rules[0]: unknown key"),
        "{err}"
    );
}

/// Who reads the first line alone has seen enough.
#[test]
fn a_reader_that_goes_away() {
    let files = Files::new();
    let requests = "https://a.test/\n".repeat(20_000);
    files.write("many", &requests);
    let binary = std::env::var_os("HTTPJAIL_TEST_BINARY").unwrap_or(env!("CARGO_BIN_EXE_httpjail").into());
    let script = "\"$0\" check -r 'deny: .' - < many | head -n 1";
    let done = Command::new("sh")
        .args(["-c", script])
        .arg(fs::canonicalize(Path::new(&binary)).unwrap())
        .current_dir(files.0.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&done.stdout), "deny GET https://a.test/ (-r 1: `deny: .`)\n");
    assert_eq!(text(&done.stderr), "");
}

#[test]
fn many_rules_are_shown_where_they_nearly_matched() {
    let files = Files::new();
    let others: String = (0..1000)
        .map(|n| format!("- {{action: allow, host: h{n}.test}}\n"))
        .collect();
    files.write(
        "many.yaml",
        &format!("rules:\n{others}- {{action: allow, host: a.test, path: /x}}\n"),
    );
    files.check(
        &["-c", "many.yaml", "https://a.test/y"],
        1,
        "deny GET https://a.test/y\n  many.yaml:1002: `allow: host a.test path /x`: another path\n  \
         1000 rules before that are about something else\n  no rule matches\n",
    );
}

#[test]
fn as_json() {
    let files = Files::new();
    let (code, out, _) = files.httpjail(
        &["check", "-c", "r.yaml", "--json", "POST", "https://git.example.com/x"],
        "",
    );
    let expected = json!({
        "verdict": "allow", "method": "POST", "url": "https://git.example.com/x",
        "rule": "allow: host git.example.com", "source": "team/groups.yaml:3", "address": "not looked up",
        "tried": [
            {"rule": "deny: telemetry", "source": "r.yaml:4", "why": "the pattern is not found"},
            {"rule": "allow: host git.example.com", "source": "team/groups.yaml:3", "why": "matches"},
        ],
    });
    assert_eq!((code, objects(&out)), (Some(0), vec![expected]));
    let line = [
        "check",
        "-c",
        "r.yaml",
        "--json",
        "--replay",
        "log.jsonl",
        "--diff",
        "open.yaml",
    ];
    let (code, out, _) = files.httpjail(&line, "");
    let expected = json!({
        "before": "deny", "verdict": "allow", "method": "POST", "url": "https://api.example.com/v1/x", "times": 2,
        "rule": "allow: host api.example.com path /v1/*", "source": "open.yaml:6", "address": "not looked up",
    });
    assert_eq!((code, objects(&out)), (Some(1), vec![expected]));
    let (code, out, _) = files.httpjail(&["check", "-c", "r.yaml", "--json"], "");
    let tests: Vec<[Value; 3]> = objects(&out)
        .into_iter()
        .map(|mut test| ["test", "wanted", "verdict"].map(|key| test[key].take()))
        .collect();
    assert_eq!(
        tests,
        [["r.yaml:8", "allow", "allow"], ["r.yaml:9", "deny", "deny"]].map(|test| test.map(Value::from))
    );
    assert_eq!(code, Some(0));
}

#[test]
fn requests_from_stdin() {
    let files = Files::new();
    let check = |stdin: &str| files.httpjail(&["check", "-c", "r.yaml", "-"], stdin);
    let good = "# comment\n\nhttps://git.example.com/x\n  get https://api.example.com/v1/y\n";
    let (code, out, err) = check(good);
    let expected = "allow GET https://git.example.com/x (team/groups.yaml:3: `allow: host git.example.com`)\n\
                    allow GET https://api.example.com/v1/y (r.yaml:6: `allow-get: host api.example.com path /v1/*`)\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), expected, ""));
    let (code, out, _) = check(&format!("{good}https://a.test/\n"));
    assert_eq!((code, out.lines().count()), (Some(1), 3));
    // One that is none is told of, and the others are judged.
    let (code, out, err) = check("a.test\x1b[2J\nhttps://a.test/\n");
    assert_eq!(
        (code, out.as_str()),
        (Some(2), "deny GET https://a.test/ (no rule matches)\n")
    );
    assert!(err.contains("stdin:1: invalid URL `a.test\\x1b[2J`"), "{err}");
}

#[test]
fn a_log_again_and_with_another_policy() {
    let files = Files::new();
    let replay = |more: &[&'static str]| [&["-c", "r.yaml", "--replay", "log.jsonl"], more].concat();
    files.check(
        &replay(&[]),
        1,
        "deny POST https://api.example.com/v1/x x2 (no rule matches)\n\
         allow GET https://git.example.com/x (team/groups.yaml:3: `allow: host git.example.com`)\n",
    );
    files.check(
        &replay(&["--diff", "open.yaml"]),
        1,
        "deny -> allow POST https://api.example.com/v1/x x2\n  before: no rule matches\n  \
         after: open.yaml:6: `allow: host api.example.com path /v1/*`\n",
    );
    files.check(&replay(&["--diff", "r.yaml"]), 0, "");
    // A rule of -r is in both, but for a first policy that is nothing else.
    files.check(&replay(&["-r", "allow: .*", "--diff", "open.yaml"]), 0, "");
    let (code, out, _) = files.httpjail(
        &["check", "-r", "allow: .*", "--replay", "log.jsonl", "--diff", "r.yaml"],
        "",
    );
    assert_eq!(
        (code, out.lines().next()),
        (Some(1), Some("allow -> deny POST https://api.example.com/v1/x x2"))
    );
}

#[test]
fn tests_of_the_file() {
    let files = Files::new();
    let passed = "ok   r.yaml:8: GET https://api.example.com/v1/x: allow\nok   r.yaml:9: POST https://api.example.com/v1/x: deny\n";
    files.check(&["-c", "r.yaml"], 0, passed);
    files.check(&["-c", "r.yaml", "--tests"], 0, passed);
    files.check(
        &["-c", "open.yaml"],
        1,
        "ok   open.yaml:8: GET https://api.example.com/v1/x: allow\n\
         FAIL open.yaml:9: POST https://api.example.com/v1/x: wanted deny, and it is allow \
         (open.yaml:6: `allow: host api.example.com path /v1/*`)\n",
    );
}

#[test]
fn what_cannot_be_checked() {
    let files = Files::new();
    files.write("empty.yaml", "");
    files.write("bad.yaml", "rules:\n- acton: allow\n");
    files.refused(&[], "there is nothing to check");
    files.refused(&["-c", "empty.yaml"], "there is nothing to check");
    files.refused(&["-c", "bad.yaml", "https://a.test/"], "error: bad.yaml:2:3: rules[0]: unknown key `acton`\n  2 | - acton: allow\n    |   ^\nhint: did you mean `action`?\n");
    files.refused(
        &["-c", "none.yaml", "https://a.test/"],
        "cannot read none.yaml: No such file",
    );
    files.refused(&["-r", "allow", "https://a.test/"], "-r 1 (`allow`)");
    files.refused(&["a.test"], "hint: write https://a.test");
    files.refused(&["GET", "https://u:p@a.test/"], "would be refused with 400");
    files.refused(&["--replay", "r.yaml"], "no line of it is a JSON record");
    files.refused(
        &["--replay", "none.jsonl"],
        "cannot read the log none.jsonl: No such file",
    );
    files.refused(&["-c", "r.yaml", "--tests", "https://a.test/"], "cannot be used with");
    files.refused(&["GET", "https://a.test/", "x"], "unexpected");
}

#[test]
fn the_schema_is_printed() {
    let files = Files::new();
    let (code, out, err) = files.httpjail(&["schema"], "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["rules"].is_object());
}
