//! The policy file: YAML with `rules`, `groups`, `tests`, and every command-line option by its long name.
//!
//! Pure: texts in, values out; whoever calls gives the bytes of files that this one names. Every error says where it is and
//! shows the line, and unknown keys say what they were probably meant to be.

mod error;
mod escapes;
mod groups;
mod limits;
mod lines;
mod shape;
mod words;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::Target;
use super::lint::{self, Warning};
use super::rule::{Action, Rule};
use crate::net::HostPattern;
use error::Origin;
use groups::Known;
use lines::Lines;
use shape::{Many, Shape};

pub use error::FileError;
pub use groups::Read;
pub use limits::Limits;
pub use shape::{Logging, parse_address, parse_seconds};
pub use words::{Auth, Backend, DnsMode, Level, LogFormat, SummaryForm, Word};

/// What a policy file may say, as a JSON Schema (2020-12).
pub const SCHEMA: &str = include_str!("yaml/schema.json");

/// What a policy file says.
#[derive(Debug)]
pub struct File {
    /// Its rules, in order, those of groups where they are used.
    pub rules: Vec<Rule>,
    /// `tests:`.
    pub tests: Vec<Test>,
    /// `logging:`.
    pub logging: Logging,
    /// The options that it sets.
    pub options: Options,
    /// `passthrough:` of `tls:`.
    pub passthrough: Vec<HostPattern>,
    /// `limits:`.
    pub limits: Limits,
    /// What its author should look at.
    pub warnings: Vec<Warning>,
    /// Its own text, and those of the files that it takes groups from, each with its path.
    pub texts: Vec<(PathBuf, String)>,
}

/// A request, and the verdict that the author expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The request.
    pub target: Target,
    /// The verdict.
    pub wanted: Action,
    /// Where it was written: `file:line`.
    pub place: String,
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
    pub summary: Option<SummaryForm>,
    pub quiet: Option<bool>,
    pub verbose: Option<u8>,
    pub publish: Vec<String>,
    pub allow_socket: Vec<String>,
    pub upstream_ca: Vec<String>,
    pub listen: Option<SocketAddr>,
    pub auth: Option<Auth>,
}

/// Reads a policy file. `name` is its path as it was named: for messages, and for the paths in it, which start from there.
/// `read` gives the bytes of files that it takes groups from.
///
/// # Errors
/// [`FileError`] for anything that is not exactly a policy: nothing in a file is ignored.
pub fn load<'a>(name: &str, bytes: Vec<u8>, read: &'a mut Read<'a>) -> Result<File, FileError> {
    let text = Rc::new(Text::new(name, bytes)?);
    let mut warnings = Vec::new();
    let (mut shape, lines): (Shape, _) = text.read(&mut warnings)?;
    let mut known = Known::new(read, &text);
    let from = std::mem::take(&mut shape.groups_from);
    known.take(&text, &lines, std::mem::take(&mut shape.groups), from)?;
    let rules = known.rules(&text, &lines, &mut shape)?;
    warnings.append(&mut known.warnings);
    let mut texts = vec![(PathBuf::from(name), text.text.clone())];
    texts.append(&mut known.texts);

    let tests = shape.tests.unwrap_or_default();
    let places = lines.items("tests", tests.len());
    let test = |(index, entry): (usize, shape::TestEntry)| Test {
        target: entry.request.0,
        wanted: entry.verdict,
        place: match places.and_then(|lines| lines.get(index)) {
            Some(line) => format!("{name}:{line}"),
            None => format!("{name}, test {}", index + 1),
        },
    };
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
        summary: shape.summary,
        quiet: shape.quiet,
        verbose: shape.verbose,
        publish: shape.publish.0,
        allow_socket: shape.allow_socket.0,
        upstream_ca: shape.upstream_ca.0,
        listen: shape.listen.map(|address| address.0),
        auth: shape.auth,
    };
    Ok(File {
        rules,
        tests: tests.into_iter().enumerate().map(test).collect(),
        logging: shape.logging.unwrap_or_default(),
        options,
        passthrough: shape.tls.unwrap_or_default().passthrough.0,
        limits: shape.limits.unwrap_or_default(),
        warnings,
        texts,
    })
}

/// Reads a policy file that takes groups from no other.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str) -> Result<File, FileError> {
    let mut alone = |_: &Path| Err("a file that is read by itself cannot name others".to_owned());
    load(name, text.as_bytes().to_vec(), &mut alone)
}

/// One file, as text.
struct Text {
    file: Arc<str>,
    text: String,
}

impl Text {
    fn new(name: &str, bytes: Vec<u8>) -> Result<Text, FileError> {
        let file: Arc<str> = name.into();
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let (line, column) = end_of(&valid);
            let (file, text) = (&file, valid.as_str());
            Origin { file, text }.error(line, column, "the file is not UTF-8 text")
        })?;
        // A byte-order mark is no part of the text (YAML 1.2 §5.2).
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(Text { file, text })
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            file: &self.file,
            text: &self.text,
        }
    }

    /// The shape, and the lines of its lists.
    fn read<S: for<'de> Deserialize<'de> + Default>(
        &self,
        warnings: &mut Vec<Warning>,
    ) -> Result<(S, Lines), FileError> {
        let located = |error: &_| self.origin().located(error);
        let shape = match shape::read(&self.text) {
            Err(error) if escapes::is_bad(&error) => {
                let mended = escapes::mend(&self.text);
                let shape = shape::read(&mended.text).map_err(|error| located(&error))?;
                warnings.extend(mended.scalars.iter().map(|scalar| scalar.warning(&self.file)));
                shape
            }
            other => other.map_err(|error| located(&error))?,
        };
        Ok((shape, Lines::of(&self.text)))
    }

    /// The line of a key that begins one.
    fn line_of(&self, key: &str) -> usize {
        let begins = |line: &str| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        self.text.lines().position(begins).map_or(1, |index| index + 1)
    }
}

/// Line and column behind a text's last character.
fn end_of(text: &str) -> (usize, usize) {
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

#[cfg(test)]
mod tests;
