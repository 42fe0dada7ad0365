//! The loader and the schema, on the same files.

use std::collections::BTreeSet;

use boon::{Compiler, Schemas};
use serde_json::Value;

use super::*;

const WHOLE: &str = "\
version: 1
closed: agents.slice
metrics: 127.0.0.1:9464
jails:
- name: agents
  cgroup: agents.slice/*
  policy: web
  labels: {team: red}
  log: /var/log/httpjail/*.json
  log-format: json
  dry-run: true
  inbound: ['10.0.0.0/8:8080']
  upstream-network: host
- {name: runner, unit: runner, policy: /srv/policies/runner.yaml}
- {name: db, container: db}
";

fn parsed(text: &str) -> Result<NodeFile, FileError> {
    load("node.yaml", text.as_bytes().to_vec())
}

fn fits(text: &str) -> bool {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let place = "https://schema.example/node.json";
    let schema = serde_json::from_str(NODE_SCHEMA).expect("JSON");
    compiler.add_resource(place, schema).expect("a resource");
    let index = compiler.compile(place, &mut schemas).expect("a schema");
    let value: Value = serde_yaml::from_str(text).expect("YAML");
    schemas.validate(&value, index).is_ok()
}

#[test]
fn a_whole_file_is_read() {
    let file = parsed(WHOLE).expect("a node file");
    assert!(fits(WHOLE));
    assert_eq!(file.closed, [Pattern::parse("agents.slice").expect("a path")]);
    assert_eq!(file.metrics, Some(([127, 0, 0, 1], 9464).into()));
    let [agents, runner, db] = file.jails.as_slice() else {
        panic!("{file:#?}");
    };
    assert_eq!(
        agents.held,
        Held::Cgroups(Pattern::parse("agents.slice/*").expect("a pattern"))
    );
    assert_eq!(agents.policy, Some(Policy::Named("web".into())));
    assert_eq!(agents.labels.get("team").map(String::as_str), Some("red"));
    assert_eq!(agents.log_format, Some(LogFormat::Json));
    assert!(agents.dry_run && !runner.dry_run);
    assert_eq!(runner.policy, Some(Policy::At("/srv/policies/runner.yaml".into())));
    assert_eq!((&db.held, &db.policy), (&Held::Container("db".into()), &None));
    assert_eq!(parsed("").expect("an empty file"), NodeFile::default());
}

/// What is wrong is told with its place and, where there is one, what to write instead; the schema refuses the same.
#[test]
fn what_is_wrong_has_a_place() {
    let jail = |keys: &str| format!("jails:\n- {{name: a, cgroup: x/*}}\n- {{name: b, {keys}}}\n");
    for (text, line, told, hint, schema) in [
        (
            "jails:\n- {name: a, cgrup: x}\n".to_owned(),
            2,
            "unknown key `cgrup`",
            "did you mean `cgroup`?",
            true,
        ),
        (
            "jials: []\n".to_owned(),
            1,
            "unknown key `jials`",
            "did you mean `jails`?",
            true,
        ),
        ("version: 2\n".to_owned(), 1, "version 1", "", true),
        (
            jail("policy: web"),
            3,
            "does not name one thing to hold",
            "it has `cgroup:`",
            true,
        ),
        (
            jail("cgroup: a, unit: b"),
            3,
            "does not name one thing to hold",
            "it has `cgroup:`",
            true,
        ),
        (jail("cgroup: a/../b"), 3, "invalid cgroup `a/../b`", "", false),
        (
            jail("cgroup: a, policy: ../web"),
            3,
            "invalid policy `../web`",
            "a name",
            false,
        ),
        (
            jail("cgroup: 'a/*', log: /var/log/a"),
            3,
            "invalid log",
            "one `*`",
            false,
        ),
        (
            jail("cgroup: a, log: a.json"),
            3,
            "invalid log",
            "an absolute path",
            false,
        ),
        (
            jail("cgroup: a, labels: {a-b: c}"),
            3,
            "invalid label `a-b`",
            "letters",
            true,
        ),
        (jail("cgroup: a, log-format: xml"), 3, "xml", "", true),
        (
            "jails:\n- {name: .a, cgroup: x}\n".to_owned(),
            2,
            "invalid name `.a`",
            "a name has",
            true,
        ),
        (
            "jails:\n- {name: a, cgroup: x}\n- {name: a, cgroup: y}\n".to_owned(),
            3,
            "a second jail",
            "",
            false,
        ),
        (
            "metrics: 9464x\n".to_owned(),
            1,
            "invalid address `9464x`",
            "127.0.0.1:8080",
            false,
        ),
        ("closed: [a, 'b/*']\n".to_owned(), 1, "without `*`", "", false),
    ] {
        let error = parsed(&text).expect_err(&text);
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.message.contains(told), "{text}: {error}");
        assert!(error.hint.unwrap_or_default().contains(hint), "{text}");
        assert_eq!(fits(&text), !schema, "{text}");
    }
}

#[test]
fn the_schema_has_the_keys_of_the_loader() {
    let schema: Value = serde_json::from_str(NODE_SCHEMA).expect("JSON");
    for (place, text) in [("", "zzzzz: 1"), ("/$defs/jail", "jails: [{zzzzz: 1}]")] {
        let found = schema
            .pointer(&format!("{place}/properties"))
            .and_then(Value::as_object);
        let keys: BTreeSet<String> = found.expect(place).keys().cloned().collect();
        let hint = parsed(text).expect_err(text).hint.unwrap_or_default();
        let known = hint
            .strip_prefix("known here: ")
            .unwrap_or_else(|| panic!("{text}: {hint}"));
        assert_eq!(keys, known.split(", ").map(str::to_owned).collect(), "{place}");
    }
}
