//! Each policy in examples/ gives the verdicts that its header promises (`# allow: GET URL`, `# deny: GET URL`), and `lint` finds
//! nothing wrong with it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::binary;

fn httpjail(arguments: &[&str], policy: &Path, stdin: &str) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).arg("-c").arg(policy);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Returns the verdicts and requests of `header`: (`allow`, `GET https://host/`).
fn promises(text: &str) -> Vec<(&str, &str)> {
    let words = text
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once(": "));
    words.filter(|(word, _)| ["allow", "deny"].contains(word)).collect()
}

pub(crate) fn check(policy: &Path) {
    let name = policy.display();
    let text = fs::read_to_string(policy).unwrap();
    let promises = promises(&text);
    for verdict in ["allow", "deny"] {
        assert!(
            promises.iter().any(|(word, _)| *word == verdict),
            "{name} shows no {verdict}"
        );
    }

    let requests: String = promises.iter().map(|(_, request)| format!("{request}\n")).collect();
    let outcome = httpjail(&["check", "--json", "-"], policy, &requests);
    assert_eq!(outcome.status.code(), Some(1), "{name}: {outcome:?}");
    let said = String::from_utf8(outcome.stdout).unwrap();
    let verdicts: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(verdicts.len(), promises.len(), "{name}: {said}");
    for ((promised, request), found) in promises.iter().zip(&verdicts) {
        assert_eq!(found["verdict"], *promised, "{name}: {request}");
    }

    let outcome = httpjail(&["lint"], policy, "");
    assert_eq!(outcome.status.code(), Some(0), "{name}: {outcome:?}");
}

#[test]
fn each_policy_keeps_its_promises() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let policies: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    assert!(policies.len() >= 6, "{policies:?}");
    policies.iter().for_each(|policy| check(policy));
}
