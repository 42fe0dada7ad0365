//! Errors in a policy file: the position, the message, the line itself, and what to write instead.

use std::sync::Arc;

use crate::policy::{Action, guess};

/// An error in a policy file: `file:line:column: message`, and the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}{excerpt}")]
pub struct FileError {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line, and a mark below the column on a line of its own; empty if there is no line to show.
    pub excerpt: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Separates an error from its hint in the one text that serde carries.
pub(super) const HINT: &str = "\nhint: ";
/// Shows how rules are written.
pub(super) const LIKE: &str =
    "write a rule as - {action: allow, host: example.com} or - {action: deny, pattern: telemetry}";

/// Makes an error that serde carries, with its hint.
pub(super) fn with_hint<E: serde::de::Error>(error: &impl std::error::Error, hint: Option<String>) -> E {
    match hint {
        Some(hint) => E::custom(format!("{error}{HINT}{hint}")),
        None => E::custom(error),
    }
}

/// A longer line is shown in part.
const WIDTH: usize = 100;

/// One of several files, for errors in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) text: &'a str,
}

impl Origin<'_> {
    /// Makes an error at a position of this file.
    pub(super) fn error(&self, line: usize, column: usize, message: impl Into<String>) -> FileError {
        FileError {
            file: Arc::clone(self.file),
            line,
            column,
            message: message.into(),
            excerpt: excerpt(self.text, line, column),
            hint: None,
        }
    }

    /// Makes an error at the first occurrence of this word from `line` on.
    pub(super) fn error_at(&self, line: usize, word: &str, message: impl Into<String>) -> FileError {
        let mut lines = self.text.lines().enumerate().skip(line.saturating_sub(1));
        let found = lines.find_map(|(index, text)| Some((index + 1, column_of(text, word)?)));
        let (line, column) = found.unwrap_or((line, 1));
        self.error(line, column, message)
    }

    fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number.saturating_sub(1)).unwrap_or_default()
    }

    /// Finds the position of the value or key that is wrong, where the library reports that of the whole map.
    fn nearer(&self, from: usize, message: &str) -> Option<(usize, usize)> {
        let quoted = || message.split('`').nth(1);
        let (word, nth) = if message.contains("invalid host `") || message.contains("invalid path `") {
            (quoted()?, 0)
        } else if message.contains("duplicate field `") {
            (quoted()?, 1)
        } else {
            return None;
        };
        let lines = self.text.lines().enumerate().skip(from.saturating_sub(1));
        let mut found = lines.filter_map(|(index, text)| Some((index + 1, column_of(text, word)?)));
        found.nth(nth)
    }

    /// Turns the library's error into one of ours.
    pub(super) fn located(&self, error: &serde_yaml::Error) -> FileError {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let whole = error.to_string();
        let suffix = format!(" at line {line} column {column}");
        let message = whole.replace(&suffix, "");
        // Our own errors carry their hint behind this separator.
        let (message, hint) = match message.split_once(HINT) {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => match message.split_once("unknown field `") {
                Some((before, names)) => unknown_key(before, names, self.line(line)),
                None => hinted(message, self.line(line)),
            },
        };
        let (line, column) = self.nearer(line, &message).unwrap_or((line, column));
        FileError {
            hint,
            ..self.error(line, column, message)
        }
    }
}

impl FileError {
    pub(super) fn hinted(self, hint: impl Into<String>) -> FileError {
        FileError {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Finds the column of a whole word outside of comments.
fn column_of(line: &str, word: &str) -> Option<usize> {
    let text = line.split(" #").next().unwrap_or_default();
    let part_of_one = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let alone = |at: usize| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(part_of_one) && !after.is_some_and(part_of_one)
    };
    let (at, _) = text.match_indices(word).find(|(at, _)| alone(*at))?;
    Some(text[..at].chars().count() + 1)
}

/// The line with its number, and a mark below the column.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    let Some(found) = text
        .lines()
        .nth(line.saturating_sub(1))
        .filter(|line| !line.trim().is_empty())
    else {
        return String::new();
    };
    let before = column.saturating_sub(1);
    let skipped = before.saturating_sub(WIDTH / 2);
    let skipped = if found.chars().count() > WIDTH { skipped } else { 0 };
    let shown: String = found.chars().skip(skipped).take(WIDTH).map(blank).collect();
    let (number, ahead) = (line.to_string(), " ".repeat(before - skipped));
    let margin = " ".repeat(number.len());
    format!("\n{number} | {}\n{margin} | {ahead}^", shown.trim_end())
}

/// Tabs as one column, like the mark below them.
fn blank(c: char) -> char {
    if c.is_whitespace() { ' ' } else { c }
}

/// Returns the message, in better words where it is the library's, and a hint. `line` is the text of the line.
fn hinted(message: String, line: &str) -> (String, Option<String>) {
    if message.contains("while scanning an al") || message.contains("while scanning an anchor") {
        let (key, value) = line.split_once(": ").unwrap_or(("host", "*.example.com"));
        let (key, value) = (
            key.trim_start_matches([' ', '-', '{']),
            value.trim().trim_end_matches('}'),
        );
        let key = key.rsplit([',', ' ']).next().unwrap_or(key);
        let message = "a text that begins with `*` or `&` stands in quotes".to_owned();
        let glob = guess::pattern(value, Action::Allow).filter(|_| key == "pattern");
        let value = glob.as_deref().unwrap_or(value.trim());
        return (message, Some(format!("write {key}: '{value}'")));
    }
    let hint = if message.contains("unknown escape character") {
        "write the text in single quotes: YAML takes a backslash there as it stands"
    } else if message.contains("missing field `action`") {
        "a rule has `action: allow` or `action: deny`, and a `pattern:` or a `host:`"
    } else if message.contains("cannot start any token") {
        "put the text in single quotes; indent with spaces"
    } else if message.starts_with("rules: invalid type") {
        LIKE
    } else {
        return (message, None);
    };
    (message, Some(hint.to_owned()))
}

/// Returns the message and the hint for an unknown key. `names` is the rest of serde's message: ``patern`, expected one of
/// `action`, `pattern`, ...`.
fn unknown_key(before: &str, names: &str, line: &str) -> (String, Option<String>) {
    let unknown = names.split('`').next().unwrap_or_default();
    if guess::action_of(unknown).is_some() {
        let rule = line
            .trim()
            .trim_start_matches("- ")
            .trim_start_matches('{')
            .trim_end_matches('}');
        let pattern = rule
            .split_once(':')
            .map_or("", |(_, pattern)| pattern.trim().trim_matches(['"', '\'']));
        let entry = guess::entry(&format!("{unknown}: {pattern}"));
        let below = if before.is_empty() { " below `rules:`" } else { "" };
        let hint = entry.map_or(LIKE.to_owned(), |entry| format!("write {entry}{below}"));
        return (format!("{before}unknown key `{unknown}`"), Some(hint));
    }
    let hint = nearest(unknown, names.split('`').skip(2).step_by(2));
    (format!("{before}unknown key `{unknown}`"), hint)
}

/// Returns a hint with the known name that was probably meant, or else with all of them.
pub(super) fn nearest<'n>(unknown: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let known: Vec<&str> = known.collect();
    let likeness = |name: &&&str| strsim::jaro_winkler(name, unknown);
    let closest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    if likeness(&closest) > 0.75 {
        return Some(format!("did you mean `{closest}`?"));
    }
    Some(format!("known here: {}", known.join(", ")))
}
