//! docs/design.md is complete: it names every command, every option and every key of the policy file. And what the pages for
//! developers name of the source is there.
//!
//! What there is to name is taken from the program itself (`--help` of each command, `httpjail schema`), and the fields of the log and
//! the variables of the command from its source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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

/// Fails for each name that docs/design.md has in no code span. `known` must be among the names, or they were not found.
#[track_caller]
fn check(names: impl IntoIterator<Item = String>, known: &str) {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/design.md")).unwrap();
    let code: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let words = code.iter().flat_map(|code| code.split([' ', '=', '[', ':', '\\']));
    let named: BTreeSet<&str> = words.map(|word| word.trim_matches(['(', ')', ','])).collect();
    let names: BTreeSet<String> = names.into_iter().collect();
    assert!(names.contains(known), "{known} is not among {names:?}");
    let missing: Vec<&String> = names.iter().filter(|name| !named.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/design.md does not name {missing:?}");
}

/// Returns a file of the source without its tests.
fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

#[test]
fn every_command_and_option_is_named() {
    let commands = commands();
    let helps = commands.iter().map(|command| httpjail(&[command, "--help"]));
    let named = helps.chain([httpjail(&["--help"])]).flat_map(|help| options(&help));
    check(named, "--replay");
    check(commands.clone(), "doctor");
}

#[test]
fn every_key_of_the_policy_file_is_named() {
    let mut found = BTreeSet::new();
    keys(&serde_json::from_str(&httpjail(&["schema"])).unwrap(), &mut found);
    check(found, "memory-bytes");
}

#[test]
fn every_field_and_event_of_the_log_is_named() {
    let format = source("audit/format.rs");
    let record = format
        .split("struct Line<'a> {")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let fields = record.lines().filter_map(|line| line.trim().split_once(": "));
    check(fields.map(|(name, _)| name.to_owned()), "duration_ms");
    let events = format
        .lines()
        .filter_map(|line| line.trim().strip_prefix("EventKind::")?.split_once(" => \""));
    check(
        events.map(|(_, rest)| rest.trim_end_matches(['"', ',']).to_owned()),
        "silent",
    );
}

#[test]
fn every_variable_that_the_command_gets_is_named() {
    let files = ["tls/trust/environment.rs", "weak/environment.rs"].map(source);
    let texts = files.iter().flat_map(|text| text.split('"').skip(1).step_by(2));
    let variables = texts.filter(|word| word.len() > 4 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    check(variables.map(str::to_owned), "SSL_CERT_FILE");
}

/// Returns the pages that speak of the source.
fn pages(root: &Path) -> Vec<PathBuf> {
    let decisions = fs::read_dir(root.join("docs/decisions")).unwrap();
    let mut pages: Vec<PathBuf> = decisions.map(|page| page.unwrap().path()).collect();
    pages.extend(["ARCHITECTURE.md", "CONTRIBUTING.md", "RELEASING.md", "docs/design.md"].map(|page| root.join(page)));
    pages
}

/// Whether `name` is a module of the package, or an item in one: `policy::lint`, `proxy::limits`.
fn is_module(source: &Path, name: &str) -> bool {
    let path = source.join(name.replace("::", "/"));
    let item_in = |module: &Path, item: &str| {
        let text = [module.with_extension("rs"), module.join("mod.rs")].map(|file| fs::read_to_string(file).ok());
        text.iter().flatten().any(|text| text.contains(item))
    };
    path.is_dir()
        || path.with_extension("rs").is_file()
        || path
            .parent()
            .zip(path.file_name())
            .is_some_and(|(module, item)| item_in(module, &item.to_string_lossy()))
}

#[test]
fn what_the_pages_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let source = root.join("httpjail/src");
    let tops = [
        "httpjail",
        "httpjail-common",
        "httpjail-ebpf",
        "tests",
        "xtask",
        "fuzz",
        "benches",
        "docs",
        "examples",
    ];
    let lower = |word: &str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
    };
    let (mut missing, mut named) = (Vec::new(), 0);
    for page in pages(root) {
        let text = fs::read_to_string(&page).unwrap();
        // Diagrams and other blocks are no prose.
        let prose: String = text.split("```").step_by(2).collect();
        for word in prose
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| !word.contains(char::is_whitespace))
        {
            let there = match word.split_once('/') {
                Some((top, _)) if tops.contains(&top) => root.join(word).exists(),
                None if word.contains("::") && lower(word) => is_module(&source, word),
                _ => continue,
            };
            named += 1;
            if !there {
                missing.push(format!("{}: {word}", page.display()));
            }
        }
    }
    assert!(named > 40, "the pages name {named} things");
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}
