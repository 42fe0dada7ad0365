//! Implements the answer "always": appends a rule to the user's policy file, and keeps everything else, comments too.
//!
//! The text is extended, not generated again, and then parsed as a policy. Unless that policy has the old rules in their order
//! and one more, which allows the request, nothing is written. The file is replaced in one step, with the caller's rights.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use http::Method;
use nix::libc;

use crate::approve::grant::Grant;
use crate::approve::request::ApprovalRequest;
use crate::net::Scheme;
use crate::policy::{Policy, Rule, Target, Verdict};

/// The policy file that "always" writes to.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    /// The name that the user gave.
    pub name: String,
    /// Its path, which the command cannot redirect.
    pub path: PathBuf,
    /// The text that it must have, if the command could write the file too.
    pub known: Option<String>,
    /// Reads a text as a policy file, or says why it is not one.
    pub parse: fn(&str) -> Result<Contents, String>,
}

/// What a policy file has.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Its rules, in their order.
    pub rules: Vec<Rule>,
    /// All else, in a form that shows every difference.
    pub rest: String,
}

impl PolicyFile {
    /// Adds a rule for `grant`, which allows `request`.
    pub(super) fn add(&mut self, grant: &Grant, request: &ApprovalRequest) -> Result<(), String> {
        let (text, permissions) = read(&self.path).map_err(|error| error.to_string())?;
        if self.known.as_ref().is_some_and(|known| *known != text) {
            return Err("the file has changed, and the command could have changed it".to_owned());
        }
        let added =
            added(&text, grant).ok_or("no rule can express that, or the file has no list of rules to add to")?;
        check((self.parse)(&text)?, (self.parse)(&added)?, request)?;
        replace(&self.path, &added, permissions).map_err(|error| error.to_string())?;
        self.known.iter_mut().for_each(|known| known.clone_from(&added));
        Ok(())
    }
}

/// Reads a regular file; does not follow a link.
fn read(path: &Path) -> io::Result<(String, Permissions)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, found.permissions()))
}

fn replace(path: &Path, text: &str, permissions: Permissions) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Checks that `new` has the rules of `old` and one more, which allows this request.
fn check(old: Contents, new: Contents, request: &ApprovalRequest) -> Result<(), String> {
    let texts = |contents: &Contents| contents.rules.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (before, after) = (texts(&old), texts(&new));
    let same = after.len() == before.len() + 1 && after.starts_with(&before) && old.rest == new.rest;
    let target = target(request).ok_or("the request cannot be read again")?;
    let policy = Policy::new(new.rules);
    match policy.judge(&target) {
        Verdict::Allow(id) if same && id.0 == before.len() => Ok(()),
        _ => Err("the file with that rule would not allow the request".to_owned()),
    }
}

fn target(request: &ApprovalRequest) -> Option<Target> {
    let scheme = [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| scheme.as_str() == request.scheme)?;
    let rest = request.url.strip_prefix(scheme.as_str())?.strip_prefix("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '*'])?);
    let method = Method::from_bytes(request.method.as_bytes()).ok()?;
    Target::new(&method, scheme, authority, path)
        .ok()
        .filter(|target| target.url() == request.url)
}

/// Returns the text with the new rule after the last one.
fn added(text: &str, grant: &Grant) -> Option<String> {
    let (method, pattern) = grant.rule()?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let key = lines.iter().position(|line| line.starts_with("rules:"));
    let (at, indent) = match key {
        None => {
            lines.push("rules:".to_owned());
            (lines.len(), "  ".to_owned())
        }
        Some(key) => {
            let beside = lines[key]["rules:".len()..]
                .split(" #")
                .next()
                .unwrap_or_default()
                .trim();
            if beside == "[]" {
                lines[key] = "rules:".to_owned();
            } else if !beside.is_empty() {
                return None;
            }
            let mut last = key;
            let mut indent = None;
            for (at, line) in lines.iter().enumerate().skip(key + 1) {
                let start = line.trim_start();
                if start.is_empty() || start.starts_with('#') {
                    continue;
                }
                if !line.starts_with([' ', '-']) {
                    break;
                }
                if start.starts_with('-') {
                    indent.get_or_insert_with(|| line[..line.len() - start.len()].to_owned());
                }
                last = at;
            }
            (last + 1, indent.unwrap_or_else(|| "  ".to_owned()))
        }
    };
    let mut entry = vec![
        format!("{indent}# approved when it was asked for"),
        format!("{indent}- action: allow"),
        format!("{indent}  pattern: '{}'", pattern.replace('\'', "''")),
    ];
    entry.extend(method.map(|method| format!("{indent}  methods: [{method}]")));
    lines.splice(at..at, entry);
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests;
