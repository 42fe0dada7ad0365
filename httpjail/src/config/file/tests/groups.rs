//! Groups of rules, within a file and over several, and the tests that a file brings along.

use std::path::Path;

use super::{messages, read, wrong};
use crate::config::file::*;

/// What `r.yaml` means beside these other files.
fn with(files: &[(&str, &str)]) -> Result<File, FileError> {
    let mut read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or_else(|| "no such file".to_owned())
    };
    let main = read(Path::new("r.yaml")).expect("r.yaml");
    load("r.yaml", main, &mut read)
}

/// Each rule with its place.
fn placed(file: &File) -> Vec<String> {
    file.rules
        .iter()
        .map(|rule| format!("{rule} ({})", rule.source()))
        .collect()
}

const FORGE: &str = "groups:\n  forge:\n    - {action: allow, host: git.test}\n    - action: deny\n      host: x.test\n      methods:\n";

#[test]
fn groups_stand_where_they_are_used() {
    let file = read(&format!(
        "{FORGE}  web:\n  - use: forge\nrules:\n- {{action: deny, host: a.test}}\n- use: [forge]\n- {{action: allow, host: b.test}}\nuse: web\n"
    ));
    assert_eq!(
        placed(&file),
        [
            "deny: host a.test (rules.yaml:10)",
            "allow: host git.test (rules.yaml:3)",
            "deny: host x.test (rules.yaml:4)",
            "allow: host b.test (rules.yaml:12)",
            "allow: host git.test (rules.yaml:3)",
            "deny: host x.test (rules.yaml:4)",
        ]
    );
    let unused = read(FORGE);
    assert_eq!(unused.rules.len(), 0);
    let flow = read("groups: {f: [{action: allow, host: a.test}, {action: deny, host: b.test}]}\nuse: f\n");
    assert_eq!(
        placed(&flow),
        [
            "allow: host a.test (rules.yaml, group f, rule 1)",
            "deny: host b.test (rules.yaml, group f, rule 2)"
        ]
    );
    assert_eq!(
        messages(&read(
            "groups:\n  f:\n  - action: allow\n    host: a.test\n    methods:\nuse: [f, f]\n"
        ))
        .len(),
        1
    );
}

#[test]
fn groups_come_from_other_files() {
    let file = with(&[
        (
            "r.yaml",
            "groups-from: [team/g.yaml, ./team/../team/x.yaml]\nuse: [forge, more]\n",
        ),
        ("team/g.yaml", &format!("version: 1\n{FORGE}groups-from: more.yaml\n")),
        ("team/../team/x.yaml", "groups-from: more.yaml\n"),
        ("team/../team/more.yaml", "groups:\n  other: []\n"),
        (
            "team/more.yaml",
            "groups:\n  more:\n  - {action: allow, host: \"m.test\", path: /x}\n  - use: forge\n",
        ),
    ])
    .unwrap();
    assert_eq!(
        placed(&file),
        [
            "allow: host git.test (team/g.yaml:4)",
            "deny: host x.test (team/g.yaml:5)",
            "allow: host m.test path /x (team/more.yaml:3)",
            "allow: host git.test (team/g.yaml:4)",
            "deny: host x.test (team/g.yaml:5)",
        ]
    );
}

/// Where the error is, what it says, and its hint.
#[track_caller]
fn wrong_groups(files: &[(&str, &str)], message: &str, hint: &str) {
    let error = with(files).map(|file| placed(&file)).expect_err(message);
    let said = error.to_string();
    assert_eq!(said.lines().next(), Some(message), "{said}");
    assert!(
        error.hint.as_deref().unwrap_or_default().contains(hint),
        "{:?}",
        error.hint
    );
}

#[test]
fn wrong_uses_of_groups() {
    let alone = |text: &str, message: &str, hint: &str| wrong_groups(&[("r.yaml", text)], message, hint);
    alone(
        &format!("{FORGE}rules:\n- use: [forge, forgee]\n"),
        "r.yaml:8:16: unknown group `forgee`",
        "did you mean `forge`?",
    );
    alone("use: [x]\n", "r.yaml:1:7: unknown group `x`", "");
    alone(
        "groups:\n  a:\n  - use: b\n  b:\n  - use: [a]\nuse: a\n",
        "r.yaml:5:11: the group `a` uses itself",
        "",
    );
    alone("rules:\n- use: []\n", "r.yaml:2:3: rules[0]: `use:` names no group", "");
    alone(
        "rules:\n- use: a\n  action: allow\n",
        "r.yaml:2:3: rules[0]: an entry is a rule, or it has `use:` and nothing else",
        "",
    );
    alone(
        "groups:\n  a: []\n  a: []\n",
        "r.yaml:2:3: groups: duplicate group `a`",
        "",
    );
    alone(
        "groups: [a]\n",
        "r.yaml:1:9: groups: invalid type: sequence, expected names of groups, each with a list of rules",
        "",
    );
    alone(
        "groups:\n  a:\n  - action: alow\n    host: b\n",
        "r.yaml:3:13: groups.a[0].action: invalid action `alow`: expected `allow` or `deny`",
        "",
    );
}

#[test]
fn wrong_files_of_groups() {
    let main = ("r.yaml", "# x\ngroups-from:\n- g.yaml\n");
    wrong_groups(&[main], "r.yaml:3:3: cannot read g.yaml: no such file", "");
    wrong_groups(
        &[main, ("g.yaml", "groups: {}\nrules: []\n")],
        "g.yaml:2:1: unknown key `rules`",
        "",
    );
    wrong_groups(
        &[main, ("g.yaml", "groups-from: r.yaml\n")],
        "g.yaml:1:14: r.yaml takes groups from itself",
        "third file",
    );
    wrong_groups(
        &[main, ("g.yaml", "groups-from: g.yaml\n")],
        "g.yaml:1:14: g.yaml takes groups from itself",
        "third file",
    );
    wrong_groups(
        &[
            main,
            ("g.yaml", "groups-from: h.yaml\ngroups:\n  a: []\n"),
            ("h.yaml", "groups:\n  a: []\n"),
        ],
        "h.yaml:2:3: duplicate group `a`: g.yaml has one already",
        "",
    );
}

// Proves: D07.
#[test]
fn groups_that_multiply_end() {
    let mut text = String::from("groups:\n  g0:\n  - {action: deny, host: a.test}\n");
    for level in 1..30 {
        let below = level - 1;
        text.push_str(&format!(
            "  g{level}:\n  - use: [g{below}, g{below}, g{below}, g{below}]\n"
        ));
    }
    text.push_str("use: g29\n");
    let error = parse("r.yaml", &text).expect_err("too many");
    assert!(error.message.contains("more than 300000 rules"), "{error}");
}

#[test]
fn tests_of_the_file() {
    let file = read(
        "rules: []\ntests:\n- request: POST https://A.test:443/x\n  verdict: deny\n- {request: 'http://a.test', verdict: Allow}\n",
    );
    let tests: Vec<String> = file
        .tests
        .iter()
        .map(|test| format!("{} {} {}", test.place, test.target, test.wanted))
        .collect();
    assert_eq!(
        tests,
        [
            "rules.yaml:3 POST https://a.test/x deny",
            "rules.yaml:5 GET http://a.test/ allow"
        ]
    );
    let flow = read("tests: [{request: 'http://a.test', verdict: deny}]\n");
    assert_eq!(flow.tests[0].place, "rules.yaml, test 1");
    wrong(
        "tests:\n- request: a.test\n  verdict: deny\n",
        (2, 12),
        "invalid URL",
        "https://a.test",
    );
    wrong(
        "tests:\n- request: http://a.test/\n",
        (2, 3),
        "missing field `verdict`",
        "",
    );
    wrong(
        "tests:\n- request: http://a.test/\n  verdict: maybe\n",
        (3, 12),
        "invalid action `maybe`",
        "",
    );
    wrong("tests:\n- http://a.test/\n", (2, 3), "expected a test", "");
}
