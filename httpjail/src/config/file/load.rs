//! Turns the bytes of a policy file into a [`File`].

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::error::FileError;
use super::groups::{GroupRegistry, Read};
use super::limits::Limits;
use super::schema::{Logging, Schema, TestEntry};
use super::text::Text;
use super::values::OneOrMany;
use crate::config::overrides::Overrides;
use crate::net::HostPattern;
use crate::policy::{Action, Rule, Target, Warning};

/// The JSON Schema (2020-12) of a policy file.
pub const SCHEMA: &str = include_str!("schema.json");

/// The content of a policy file.
#[derive(Debug, Default)]
pub struct File {
    /// The rules in order, those of groups where they are used.
    pub rules: Vec<Rule>,
    /// `tests:`.
    pub tests: Vec<Test>,
    /// `logging:`.
    pub logging: Logging,
    /// The options that the file sets.
    pub options: Overrides,
    /// `passthrough:` of `tls:`.
    pub passthrough: Vec<HostPattern>,
    /// `limits:`.
    pub limits: Limits,
    /// Warnings for the author.
    pub warnings: Vec<Warning>,
    /// Its own text, and those of the files that it takes groups from, each with its path.
    pub texts: Vec<(PathBuf, String)>,
}

/// A request, and the verdict that the author expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// What is asked for.
    pub target: Target,
    /// What the policy must say.
    pub wanted: Action,
    /// Where it was written: `file:line`.
    pub place: String,
}

/// Parses a policy file. `name` is its path as the user named it: messages quote it, and paths in the file are relative to
/// it. `read` returns the bytes of the files of `groups-from:`.
///
/// # Errors
/// Returns a [`FileError`] for anything that is not exactly a policy: nothing in a file is ignored.
pub fn load<'a>(name: &str, bytes: Vec<u8>, read: &'a mut Read<'a>) -> Result<File, FileError> {
    let text = Rc::new(Text::new(name, bytes)?);
    let mut warnings = Vec::new();
    let (mut schema, lines): (Schema, _) = text.read(&mut warnings)?;
    let mut registry = GroupRegistry::new(read, &text);
    let from = std::mem::take(&mut schema.groups_from);
    registry.take(&text, &lines, std::mem::take(&mut schema.groups), from)?;
    let rules = registry.rules(&text, &lines, &mut schema)?;
    warnings.append(&mut registry.warnings);
    let mut texts = vec![(PathBuf::from(name), text.text.clone())];
    texts.append(&mut registry.texts);

    let tests = schema.tests.unwrap_or_default();
    let places = lines.items("tests", tests.len());
    let test = |(index, entry): (usize, TestEntry)| Test {
        target: entry.request.0,
        wanted: entry.verdict,
        place: match places.and_then(|lines| lines.get(index)) {
            Some(line) => format!("{name}:{line}"),
            None => format!("{name}, test {}", index + 1),
        },
    };
    let options = Overrides {
        // One name for all runs of a policy would be none.
        name: None,
        labels: schema.label.0,
        dry_run: schema.dry_run,
        log_only: schema.log_only,
        no_tls_intercept: schema.no_tls_intercept,
        weak: schema.weak,
        interactive: schema.interactive,
        approve_with: schema.approve_with,
        approve_timeout: schema.approve_timeout.map(|seconds| seconds.0),
        ephemeral_ca: schema.ephemeral_ca,
        dns: schema.dns,
        backend: schema.backend,
        user: schema.user,
        timeout: schema.timeout.map(|seconds| seconds.0),
        log: schema.log.map(PathBuf::from),
        log_format: schema.log_format,
        summary: schema.summary,
        quiet: schema.quiet,
        verbose: schema.verbose,
        level: None,
        publish: schema.publish.0,
        allow_socket: paths(schema.allow_socket),
        upstream_ca: paths(schema.upstream_ca),
        listen: schema.listen.map(|address| address.0),
        auth: schema.auth,
        inbound: schema.inbound.0,
        upstream_network: schema.upstream_network,
    };
    Ok(File {
        rules,
        tests: tests.into_iter().enumerate().map(test).collect(),
        logging: schema.logging.unwrap_or_default(),
        options,
        passthrough: schema.tls.unwrap_or_default().passthrough.0,
        limits: schema.limits.unwrap_or_default(),
        warnings,
        texts,
    })
}

/// Parses a policy file that names no other file.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str) -> Result<File, FileError> {
    let mut alone = |_: &Path| Err("a file that is read by itself cannot name others".to_owned());
    load(name, text.as_bytes().to_vec(), &mut alone)
}

fn paths(texts: OneOrMany) -> Vec<PathBuf> {
    texts.0.into_iter().map(PathBuf::from).collect()
}
