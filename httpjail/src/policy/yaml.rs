//! The policy file: YAML with `rules`, `logging`, and every command-line option by its long name.
//!
//! Pure: text in, values out. Every error says where it is, and unknown keys say what they were probably meant to be. The
//! one slip that is forgiven is the one that everybody makes: `"github\.com"` in double quotes, where `\.` is no escape.

mod lines;
mod shape;
mod words;

use std::sync::Arc;
use std::time::Duration;

use super::lint::{self, Warning};
use super::rule::{Rule, Source};

pub use shape::{Logging, parse_seconds};
pub use words::{Backend, DnsMode, Level, LogFormat, Word};

/// What a policy file says.
#[derive(Debug)]
pub struct File {
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// `logging:`.
    pub logging: Logging,
    /// The options that it sets.
    pub options: Options,
    /// What its author should look at.
    pub warnings: Vec<Warning>,
}

/// The command-line options that a file can set, as typed; `None` and empty where it does not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command-line option of that name")]
pub struct Options {
    pub dry_run: Option<bool>,
    pub log_only: Option<bool>,
    pub no_tls_intercept: Option<bool>,
    pub weak: Option<bool>,
    pub interactive: Option<bool>,
    pub approve_with: Option<String>,
    pub approve_timeout: Option<Duration>,
    pub ephemeral_ca: Option<bool>,
    pub dns: Option<DnsMode>,
    pub backend: Option<Backend>,
    pub user: Option<String>,
    pub timeout: Option<Duration>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
    pub publish: Vec<String>,
    pub allow_socket: Vec<String>,
    pub upstream_ca: Vec<String>,
}

/// What is wrong with a policy file, and where: `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct FileError {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Reads a policy file. `file` is its name for messages.
///
/// # Errors
/// [`FileError`] for anything that is not exactly a policy: nothing in a file is ignored.
pub fn parse(file: &str, text: &str) -> Result<File, FileError> {
    let file: Arc<str> = file.into();
    // A byte-order mark is no part of the text (YAML 1.2 §5.2).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut warnings = Vec::new();
    let shape = match shape::read(text) {
        Err(error) if is_bad_escape(&error) => {
            let mended = lines::mend_escapes(text);
            let shape = shape::read(&mended.text).map_err(|error| located(&file, &error))?;
            warnings.extend(mended.scalars.iter().map(|scalar| bad_escape(&file, scalar)));
            shape
        }
        other => other.map_err(|error| located(&file, &error))?,
    };

    let entries = shape.rules.unwrap_or_default();
    let lines = lines::of_rules(text, entries.len());
    let mut rules = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let line = lines.as_ref().and_then(|lines| lines.get(index).copied());
        let source = Source::File {
            file: Arc::clone(&file),
            number: index + 1,
            line,
        };
        let empty_methods = entry.empty_methods;
        let rule = Rule::new(entry.action, entry.methods, entry.matcher, source).named(entry.name);
        if empty_methods {
            warnings.extend(lint::empty_methods(&rule));
        }
        rules.push(rule);
    }
    let options = Options {
        dry_run: shape.dry_run,
        log_only: shape.log_only,
        no_tls_intercept: shape.no_tls_intercept,
        weak: shape.weak,
        interactive: shape.interactive,
        approve_with: shape.approve_with,
        approve_timeout: shape.approve_timeout.map(|seconds| seconds.0),
        ephemeral_ca: shape.ephemeral_ca,
        dns: shape.dns,
        backend: shape.backend,
        user: shape.user,
        timeout: shape.timeout.map(|seconds| seconds.0),
        log: shape.log,
        log_format: shape.log_format,
        publish: shape.publish.0,
        allow_socket: shape.allow_socket.0,
        upstream_ca: shape.upstream_ca.0,
    };
    Ok(File {
        rules,
        logging: shape.logging.unwrap_or_default(),
        options,
        warnings,
    })
}

fn is_bad_escape(error: &serde_yaml::Error) -> bool {
    error.to_string().contains("unknown escape character")
}

fn bad_escape(file: &str, scalar: &lines::Scalar) -> Warning {
    Warning::new(
        format!(
            "{file}:{}: {} is read as {}",
            scalar.line,
            scalar.typed,
            scalar.single_quoted()
        ),
        format!(
            "in YAML, a backslash in double quotes begins an escape; write {}: {}",
            scalar.key,
            scalar.single_quoted()
        ),
    )
}

fn located(file: &Arc<str>, error: &serde_yaml::Error) -> FileError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let whole = error.to_string();
    let suffix = format!(" at line {line} column {column}");
    let message = whole.replace(&suffix, "");
    // A rule's own errors carry their hint behind a line of their own.
    let (message, hint) = match message.split_once(shape::HINT) {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => {
            let hint = hint(&message);
            (message, hint)
        }
    };
    FileError {
        file: Arc::clone(file),
        line,
        column,
        message,
        hint,
    }
}

fn hint(message: &str) -> Option<String> {
    if let Some((_, names)) = message.split_once("unknown field `") {
        return nearest(names);
    }
    if message.contains("unknown escape character") {
        return Some("write the text in single quotes: YAML takes a backslash there as it stands".into());
    }
    if message.contains("missing field `action`") {
        return Some("a rule has `action: allow` or `action: deny`, and a `pattern:` or a `host:`".into());
    }
    if message.contains("cannot start any token") {
        return Some("put the text in single quotes; indent with spaces".into());
    }
    None
}

/// The known name that an unknown one was probably meant to be. `names` is the rest of serde's message: ``patern`, expected
/// one of `action`, `pattern`, ...`.
fn nearest(names: &str) -> Option<String> {
    let mut quoted = names.split('`').step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = names.split('`').skip(2).step_by(2).collect();
    let closest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)))?;
    if strsim::jaro_winkler(closest, unknown) > 0.75 {
        return Some(format!("did you mean `{closest}`?"));
    }
    Some(format!("known here: {}", known.join(", ")))
}

#[cfg(test)]
mod tests;
