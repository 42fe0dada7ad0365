//! The published schema says what the loader does.

use std::collections::BTreeSet;
use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

use crate::config::file::*;
use crate::config::options::*;
use crate::policy::{Action, Policy, Verdict};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

/// Whether the schema takes it.
fn fits(text: &str) -> Result<(), String> {
    let mut schemas = Schemas::new();
    let index = compile(&mut schemas);
    let value: Value = serde_yaml::from_str(text).expect("YAML");
    schemas.validate(&value, index).map_err(|error| format!("{error:#}"))
}

fn compile(schemas: &mut Schemas) -> SchemaIndex {
    let mut compiler = Compiler::new();
    let place = "https://schema.example/policy.json";
    compiler.add_resource(place, schema()).expect("a resource");
    compiler.compile(place, schemas).expect("a schema")
}

/// The keys that the loader knows where `text` has one that it does not, out of its own mouth.
fn loader_keys(text: &str) -> BTreeSet<String> {
    let error = parse("r.yaml", text).map(|_| ()).expect_err(text);
    let hint = error.hint.unwrap_or_default();
    let known = hint
        .strip_prefix("known here: ")
        .unwrap_or_else(|| panic!("{text}: {hint}"));
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn its_keys_are_those_of_the_loader() {
    let schema = schema();
    for (place, text) in [
        ("", "zzzzz: 1"),
        ("/properties/logging", "logging: {zzzzz: 1}"),
        ("/properties/tls", "tls: {zzzzz: 1}"),
        ("/properties/limits", "limits: {zzzzz: 1}"),
        ("/$defs/entry", "rules: [{zzzzz: 1}]"),
        ("/$defs/test", "tests: [{zzzzz: 1}]"),
    ] {
        let found = schema
            .pointer(&format!("{place}/properties"))
            .and_then(Value::as_object);
        let keys: BTreeSet<String> = found.expect(place).keys().cloned().collect();
        assert_eq!(keys, loader_keys(text), "{place}");
        let closed = schema.pointer(&format!("{place}/additionalProperties"));
        assert_eq!(closed, Some(&Value::Bool(false)), "{place}");
    }
}

#[track_caller]
fn words<W: Word>(place: &str) {
    let found = schema()
        .pointer(place)
        .and_then(|place| place["enum"].as_array().cloned());
    let known: Vec<Value> = W::WORDS.iter().map(|(word, _)| Value::from(*word)).collect();
    assert_eq!(found, Some(known), "{place}");
}

#[test]
fn its_words_are_those_of_the_loader() {
    words::<Backend>("/properties/backend");
    words::<DnsMode>("/properties/dns");
    words::<Auth>("/properties/auth");
    words::<LogFormat>("/properties/log-format");
    words::<LogFormat>("/properties/logging/properties/format");
    words::<Level>("/properties/logging/properties/level");
}

#[test]
fn its_bounds_are_those_of_the_loader() {
    let schema = schema();
    let limits = schema["properties"]["limits"]["properties"]
        .as_object()
        .expect("limits");
    let counts = limits.iter().filter(|(_, limit)| limit["type"] == "integer");
    let mut seen = 0;
    for (name, limit) in counts {
        let (least, most) = (limit["minimum"].as_i64().unwrap(), limit["maximum"].as_i64().unwrap());
        for (number, good) in [(least, true), (most, true), (least - 1, false), (most + 1, false)] {
            let text = format!("limits: {{{name}: {number}}}\n");
            assert_eq!(
                (parse("r.yaml", &text).is_ok(), fits(&text).is_ok()),
                (good, good),
                "{text}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 9);
}

/// Both take it, or neither.
#[track_caller]
fn both(text: &str, good: bool) {
    if let Err(error) = parse("r.yaml", text).map(|_| ()) {
        assert!(!good, "{error}");
    }
    assert_eq!(
        (parse("r.yaml", text).is_ok(), fits(text).is_ok()),
        (good, good),
        "{text}\n{:?}",
        fits(text)
    );
}

#[test]
fn both_take_and_refuse_the_same() {
    let rule = |inside: &str| format!("rules:\n- {{{inside}}}\n");
    for good in [
        "",
        "rules:\n",
        "version: 1\nrules: []\ngroups: {}\ntests: []\nlogging: {}\nlimits: {}\n",
        "groups:\n  a: []\n  b:\nrules:\n- use: a\n- use: [a, b]\nuse: [a]\n",
        "groups:\n  a:\n  - {action: deny, pattern: x}\n",
        "tests:\n- {request: https://a.test/, verdict: deny}\n- {request: POST HTTP://a.test, verdict: allow}\n",
        "dry-run: true\nlog: a\nlog-format: json\nquiet: true\nverbose: 2\ndns: off\nbackend: auto\nweak: false\nlog-only: false\n",
        "timeout: 30\nuser: ann\npublish: 3000\nallow-socket: [/a, /b]\nupstream-ca: /c\nephemeral-ca: true\ninteractive: true\n",
        "listen: 127.0.0.1:8080\nauth: none\nno-tls-intercept: true\ntimeout: '2.5'\n",
        "upstream-network: container\ninbound: [10.0.0.0/8:80, '[fd00::/8]:80']\n",
        "limits: {grace: 0.5, stall-timeout: 60}\n",
    ] {
        both(good, true);
    }
    for good in [
        "action: allow, pattern: x",
        "action: deny, host: a.test, path: /x, name: y",
        "action: allow, pattern: x, methods: [get, HEAD]",
        "action: allow, pattern: x, methods: post",
        "action: allow, pattern: x, methods: ",
    ] {
        both(&rule(good), true);
    }
    for bad in [
        "zzz: 1\n",
        "- x\n",
        "version: 2\n",
        "rules: x\n",
        "groups: [a]\n",
        "groups:\n  a: b\n",
        "tests:\n- https://a.test/\n",
        "tests:\n- {request: https://a.test/}\n",
        "tests:\n- {request: a.test, verdict: deny}\n",
        "tests:\n- {request: https://a.test/, verdict: maybe}\n",
        "dry-run: maybe\n",
        "dns: maybe\n",
        "upstream-network: mine\n",
        "inbound: {a: b}\n",
        "timeout: 0\n",
        "timeout: soon\n",
        "timeout: [1]\n",
        "listen: 8080\n",
        "verbose: -1\n",
        "user: [a]\n",
        "publish: {a: b}\n",
        "allow-socket: [[a]]\n",
        "logging: {level: loud}\n",
        "logging: x\n",
    ] {
        both(bad, false);
    }
    for bad in [
        "pattern: x",
        "action: allow",
        "action: permit, pattern: x",
        "action: allow, pattern: ''",
        "action: allow, pattern: x, host: a.test",
        "action: allow, path: /x",
        "action: allow, host: a.test, path: x",
        "action: allow, pattern: x, methods: foo",
        "action: allow, pattern: x, methods: []",
        "action: allow, pattern: x, use: a",
        "action: allow, patern: x",
    ] {
        both(&rule(bad), false);
    }
}

#[test]
fn the_files_of_the_readme_fit() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md");
    let blocks: Vec<&str> = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let mut elsewhere = |_: &Path| Ok(b"groups:\n  packages: []\n".to_vec());
        let loaded = load("README.md", block.as_bytes().to_vec(), &mut elsewhere);
        let file = loaded.unwrap_or_else(|error| panic!("{error}"));
        let policy = Policy::new(file.rules);
        for test in file.tests {
            let allowed = matches!(policy.judge(&test.target), Verdict::Allow(_));
            assert_eq!(allowed, test.wanted == Action::Allow, "{}", test.place);
        }
        assert_eq!(fits(block), Ok(()), "{block}");
    }
}
