//! What is risky in a policy, each with a request that shows it and a spelling that is not.

use std::fmt;

use http::Method;

use super::matcher::Matcher;
use super::pattern::Pattern;
use super::reach::{self, Https, Pin};
use super::rule::{Action, Methods, Rule};
use super::{Policy, Target};
use crate::net::Scheme;

/// Something that its author should look at. It changes no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is risky.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Warning {
    /// A warning with a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Warning {
        Warning {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

/// The message alone.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// More patterns than this are not walked: it takes up to a millisecond each, and a command waits for it.
const WALKED_MAX: usize = 200;

/// Rules that allow more than they seem to, and rules that can match nothing.
pub fn warnings(policy: &Policy) -> Vec<Warning> {
    let mut found: Vec<Warning> = looked_at(policy)
        .filter_map(|rule| dead(rule).or_else(|| unpinned(rule)))
        .collect();
    if policy.rules().filter(|(_, rule)| is_pattern(rule)).count() > WALKED_MAX {
        found.push(Warning::new(
            format!("only the first {WALKED_MAX} patterns were looked at for risks"),
            "rules with `host:` and `path:` need no such look",
        ));
    }
    found
}

/// Under `--no-tls-intercept` an HTTPS request shows its host only, and is judged as `CONNECT https://host[:port]/`. These
/// are the rules that then cannot match what they ask for.
pub fn unjudgeable_without_interception(policy: &Policy) -> Vec<Warning> {
    looked_at(policy).filter_map(unjudgeable).collect()
}

fn looked_at(policy: &Policy) -> impl Iterator<Item = &Rule> {
    let mut patterns = 0;
    policy.rules().map(|(_, rule)| rule).filter(move |rule| {
        patterns += usize::from(is_pattern(rule));
        !is_pattern(rule) || patterns <= WALKED_MAX
    })
}

fn is_pattern(rule: &Rule) -> bool {
    matches!(rule.matcher(), Matcher::Pattern(_))
}

fn unjudgeable(rule: &Rule) -> Option<Warning> {
    let what = match (rule.methods().contains(&Method::CONNECT), rule.reach().https) {
        (false, Https::Paths) => "a method and a path",
        (false, Https::Roots) => "a method",
        (true, Https::Paths) => "a path",
        (true, Https::Roots) | (_, Https::Nothing) => return None,
    };
    Some(Warning::new(
        format!(
            "{} asks for {what}, which nobody sees in HTTPS without interception",
            quoted(rule)
        ),
        "with --no-tls-intercept HTTPS is judged as `CONNECT https://host[:port]/`, by its host alone",
    ))
}

fn dead(rule: &Rule) -> Option<Warning> {
    matches!(rule.pin(), Pin::Hosts(hosts) if hosts.is_empty()).then(|| {
        Warning::new(
            format!("{} can match no request", quoted(rule)),
            "URLs are written `https://host/path`: scheme and host in lower-case ASCII, the default port left out, and always a slash after the host",
        )
    })
}

fn unpinned(rule: &Rule) -> Option<Warning> {
    let Matcher::Pattern(pattern) = rule.matcher() else {
        return None;
    };
    if rule.action() != Action::Allow || means_everything(pattern.as_str()) {
        return None;
    }
    if matches_everything(pattern) {
        return Some(Warning::new(
            format!("{} allows every URL", quoted(rule)),
            "if that is meant, write `.*`",
        ));
    }
    let stray = rule.reach().stray.as_ref()?;
    let hint = match pinned_spelling(pattern) {
        Some(pinned) => format!("write `{}{}: {pinned}`", rule.action(), rule.methods()),
        None => r"begin the pattern with `^https://HOST/`, dots written `\.` and `[^/]*` for any label, or use `host:` in a YAML file".into(),
    };
    Some(Warning::new(
        format!("{} is not pinned to a host: it also allows {stray}", quoted(rule)),
        hint,
    ))
}

fn quoted(rule: &Rule) -> String {
    format!("rule `{rule}` ({})", rule.source())
}

/// The ways to write "everything", or "everything of one scheme", on purpose.
fn means_everything(text: &str) -> bool {
    let (_, rest) = split_scheme(text);
    matches!(rest.strip_suffix('$').unwrap_or(rest), "" | "." | ".*" | ".+" | "(.*)" | "/" | "/.*" if text != "/")
}

fn matches_everything(pattern: &Pattern) -> bool {
    [
        (Scheme::Https, "evil.example", "/"),
        (Scheme::Http, "192.0.2.1:8080", "/x?y=z"),
        (Scheme::Https, "[2001:db8::1]", "/%20"),
    ]
    .into_iter()
    .all(|(scheme, authority, path)| {
        Target::new(&Method::GET, scheme, authority, path)
            .is_ok_and(|target| pattern.matches(target.url()) == Some(true))
    })
}

/// The scheme that a pattern begins with, as it should be written, and the rest.
fn split_scheme(text: &str) -> (&'static str, &str) {
    let body = text.strip_prefix('^').unwrap_or(text);
    [
        ("https?://", "^https?://"),
        ("http(s)?://", "^https?://"),
        ("(http|https)://", "^https?://"),
        ("(https|http)://", "^https?://"),
        ("https://", "^https://"),
        ("http://", "^http://"),
    ]
    .into_iter()
    .find_map(|(typed, meant)| body.strip_prefix(typed).map(|rest| (meant, rest)))
    .unwrap_or(("^https://", body))
}

/// The pattern as it was probably meant, if one of the usual slips is all that is wrong with it.
fn pinned_spelling(pattern: &Pattern) -> Option<String> {
    let (scheme, rest) = split_scheme(pattern.as_str());
    let rest = rest.trim_end_matches(".*").trim_end_matches('$');
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.trim_start_matches(".*");
    let path = if path.is_empty() { "/" } else { path };
    let any_label = if pattern.as_str().contains(".*") && host.starts_with("\\.") {
        "[^/]*"
    } else {
        ""
    };
    let plain = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let host_pattern = if plain {
        regex_syntax::escape(host).replace(r"\-", "-")
    } else {
        format!("{any_label}{host}")
    };
    let spelling = format!("{scheme}{host_pattern}{path}");
    let reach = reach::of_pattern(&Pattern::new(&spelling).ok()?);
    let sound = host.contains('.') && reach.stray.is_none() && reach.pin != Pin::Hosts(Vec::new());
    sound.then_some(spelling)
}

/// `methods:` with nothing after it, which reads like "none".
pub(super) fn empty_methods(rule: &Rule) -> Option<Warning> {
    (rule.action() == Action::Allow && rule.methods() == Methods::EVERY).then(|| {
        Warning::new(
            format!("{}: `methods:` is left empty, which means every method", quoted(rule)),
            "list them (`methods: [get, head]`), or leave `methods:` away",
        )
    })
}

#[cfg(test)]
mod tests;
