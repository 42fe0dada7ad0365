//! Writes learned rules as the text of a policy file.
//!
//! Each text is parsed again before it is returned. If it does not hold as many rules as it should, that is an error.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::load::parse;
use crate::policy::Methods;
use crate::policy::learn::LearnedRule;

/// A policy file to which rules cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`rules:` is not a plain list, one `- ` below the other, so no rule can be added")]
pub(crate) struct Unreadable;

/// A whole policy file. `about` becomes comment lines at its top.
pub(crate) fn document(about: &[String], rules: &[LearnedRule]) -> Result<String, Unreadable> {
    let mut text = String::new();
    for line in about {
        let _ = writeln!(text, "# {line}");
    }
    match rules.is_empty() {
        true => text.push_str("rules: []\n"),
        false => {
            text.push_str("rules:\n");
            text.push_str(&list(rules, "  "));
        }
    }
    checked(text, rules.len())
}

/// The text of a policy file with rules added after those that it has.
pub(crate) fn add_to(text: &str, rules: &[LearnedRule]) -> Result<String, Unreadable> {
    let had = parse("", text).map_err(|_| Unreadable)?.rules.len();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let head = lines.iter().position(|line| line.trim_end().starts_with("rules:"));
    let (before, after, indent) = match head {
        None => (text.to_owned() + newline(text) + "rules:\n", String::new(), "  "),
        Some(head) if had == 0 => {
            let before: String = lines[..head].concat();
            (before + "rules:\n", lines[head + 1..].concat(), "  ")
        }
        Some(head) => {
            let is_item = |line: &&str| line.trim_start().starts_with("- ");
            let first = lines[head + 1..].iter().find(|line| is_item(line)).ok_or(Unreadable)?;
            let indent = &first[..first.len() - first.trim_start().len()];
            // The list ends with its last line that is deeper than a key of the file: comments after it belong to what follows.
            let inside = |line: &str| {
                let bare = line.trim_start();
                !bare.trim_end().is_empty()
                    && !bare.starts_with('#')
                    && (line.starts_with([' ', '\t']) || bare.starts_with('-'))
            };
            let next = lines[head + 1..]
                .iter()
                .position(|line| !line.trim_end().is_empty() && !line.starts_with(['#', ' ', '\t', '-']));
            let limit = next.map_or(lines.len(), |next| head + 1 + next);
            let last = (head + 1..limit)
                .rev()
                .find(|at| inside(lines[*at]))
                .ok_or(Unreadable)?;
            let before = lines[..=last].concat();
            let newline = newline(&before).to_owned();
            (before + &newline, lines[last + 1..].concat(), indent)
        }
    };
    // What was added stands apart from what was there.
    let apart = if had > 0 && !rules.is_empty() { "\n" } else { "" };
    checked(
        format!("{before}{apart}{}{after}", list(rules, indent)),
        had + rules.len(),
    )
}

fn newline(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    }
}

fn list(rules: &[LearnedRule], indent: &str) -> String {
    let mut text = String::new();
    let mut host = None;
    for rule in rules {
        if host.replace(&rule.host) != Some(&rule.host) {
            if !text.is_empty() {
                text.push('\n');
            }
            let _ = writeln!(text, "{indent}# {}", rule.host);
        }
        let times = if rule.count == 1 { "request" } else { "requests" };
        let _ = write!(text, "{indent}- action: allow # {} {times}", rule.count);
        if !rule.programs.is_empty() {
            let names: Vec<&str> = rule.programs.iter().map(String::as_str).collect();
            let _ = write!(text, " by {}", names.join(", "));
        }
        if let Some(failure) = &rule.failure {
            let _ = write!(text, ", failed: {failure}");
        }
        text.push('\n');
        match methods(&rule.methods) {
            Some(methods) => {
                let _ = writeln!(text, "{indent}  methods: [{methods}]");
            }
            None => {
                let _ = writeln!(text, "{indent}  # every method: a rule cannot name all that were used");
            }
        }
        // In single quotes nothing but the quote itself means anything (YAML 1.2 section 7.3.2).
        let _ = writeln!(text, "{indent}  pattern: '{}'", rule.pattern.replace('\'', "''"));
    }
    text
}

/// The methods as a rule lists them; `None` if there is one that no rule can name.
fn methods(seen: &BTreeSet<String>) -> Option<String> {
    let known = seen.iter().all(|method| Methods::parse(method).is_some());
    let names: Vec<String> = seen.iter().map(|method| method.to_ascii_lowercase()).collect();
    known.then(|| names.join(", "))
}

fn checked(text: String, rules: usize) -> Result<String, Unreadable> {
    let whole = parse("", &text).is_ok_and(|file| file.rules.len() == rules);
    whole.then_some(text).ok_or(Unreadable)
}

#[cfg(test)]
mod tests;
