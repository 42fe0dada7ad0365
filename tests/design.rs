//! docs/design.md is complete: it names every command, every option and every key of the policy file.
//!
//! What there is to name is taken from the program itself: `--help` of each command, and `httpjail schema`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::binary;

fn httpjail(arguments: &[&str]) -> String {
    let outcome = Command::new(binary()).args(arguments).output().unwrap();
    assert!(outcome.status.success(), "{arguments:?}: {outcome:?}");
    String::from_utf8(outcome.stdout).unwrap()
}

/// Returns the commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = httpjail(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // A command stands after two blanks; what a description continues with stands further right.
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Returns the options that `help` describes: each stands at the beginning of a line, behind its short form if it has one.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = lines.flat_map(|line| {
        line.split([' ', ',', '=', '['])
            .take_while(|word| !word.starts_with('<'))
    });
    let long = words.filter(|word| word.len() > 2 && word.starts_with("--"));
    long.map(|word| word.trim_end_matches('.').to_owned()).collect()
}

/// Adds the keys that `schema` defines anywhere.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| keys(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn everything_is_named() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/design.md")).unwrap();
    // In code, and not as the beginning of a longer name.
    let code: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let is_named = |name: &str| {
        let mut words = code.iter().flat_map(|code| code.split([' ', '=', '[', ':', '\\']));
        words.any(|word| word.trim_matches(['(', ')', ',']) == name)
    };

    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    let mut missing: BTreeSet<String> = BTreeSet::new();
    missing.extend(commands.iter().filter(|name| !is_named(name)).cloned());

    let mut named = options(&httpjail(&["--help"]));
    for command in &commands {
        named.extend(options(&httpjail(&[command, "--help"])));
    }
    assert!(named.contains("--replay") && named.contains("--rule"), "{named:?}");
    missing.extend(named.into_iter().filter(|option| !is_named(option)));

    let mut properties = BTreeSet::new();
    keys(&serde_json::from_str(&httpjail(&["schema"])).unwrap(), &mut properties);
    assert!(
        properties.contains("memory-bytes") && properties.contains("action"),
        "{properties:?}"
    );
    missing.extend(properties.into_iter().filter(|key| !is_named(key)));

    assert!(missing.is_empty(), "docs/design.md does not name {missing:?}");
}
