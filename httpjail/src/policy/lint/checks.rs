//! The checks that look at one rule alone.

use http::Method;

use super::finding::{Finding, Kind};
use super::shown::request;
use super::spelling;
use crate::net::Scheme;
use crate::policy::guess;
use crate::policy::host_analysis::{self, Pin};
use crate::policy::matcher::Matcher;
use crate::policy::methods::METHODS;
use crate::policy::pattern::Pattern;
use crate::policy::rule::{Action, Rule};
use crate::policy::target::Target;
use crate::policy::verdict::RuleId;

fn spelled(rule: &Rule, pattern: &str) -> String {
    format!("{}{}: {pattern}", rule.action(), rule.methods())
}

pub(super) fn misplaced_method(id: RuleId, rule: &Rule) -> Option<Finding> {
    let Matcher::Pattern(pattern) = rule.matcher() else {
        return None;
    };
    let (methods, rest) = spelling::method_in_pattern(pattern.as_str())?;
    Some(Finding {
        mended: Some(format!("{}{methods}: {rest}", rule.action())),
        ..Finding::new(
            Kind::Method,
            id,
            "has a method in its pattern, which is searched in the URL: it stands after the action",
        )
    })
}

pub(super) fn dead(id: RuleId, rule: &Rule) -> Option<Finding> {
    matches!(rule.pin(), Pin::Hosts(hosts) if hosts.is_empty()).then(|| Finding {
        mended: spelling::revived(&rule.matcher().as_pattern()).map(|text| spelled(rule, &text)),
        hint: Some(
            "URLs are written `https://host/path`: scheme and host in lower-case ASCII, the default port left out, and always a slash after the host"
                .into(),
        ),
        ..Finding::new(Kind::Dead, id, "can match no request")
    })
}

pub(super) fn unpinned(id: RuleId, rule: &Rule) -> Option<Finding> {
    let Matcher::Pattern(pattern) = rule.matcher() else {
        return None;
    };
    if rule.action() != Action::Allow || means_everything(pattern.as_str()) {
        return None;
    }
    if matches_everything(pattern) {
        return Some(Finding {
            hint: Some("if that is meant, write `.*`".into()),
            ..Finding::new(Kind::Unpinned, id, "allows every URL")
        });
    }
    let stray = rule.host_analysis().stray.as_ref()?;
    let method = METHODS.into_iter().find(|method| rule.methods().contains(method))?;
    Some(Finding {
        request: Some(format!("{method} {stray}")),
        mended: globbed(pattern).or_else(|| pinned_spelling(pattern)).map(|text| spelled(rule, &text)),
        hint: Some(r"begin the pattern with `^https://HOST/`, dots written `\.` and `[^/]*` for any label, or use `host:` in a YAML file".into()),
        ..Finding::new(Kind::Unpinned, id, "is not pinned to a host")
    })
}

pub(super) fn loose_dot(id: RuleId, rule: &Rule) -> Option<Finding> {
    let Matcher::Pattern(pattern) = rule.matcher() else {
        return None;
    };
    let (mended, url) = spelling::loose_dot(pattern.as_str())?;
    let method = METHODS.into_iter().find(|method| rule.methods().contains(method))?;
    Some(Finding {
        request: Some(request(&method, &url)?.to_string()),
        mended: Some(spelled(rule, &mended)),
        ..Finding::new(Kind::LooseDot, id, "has a dot that stands for any character")
    })
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

/// The pattern that was meant by a glob, or by a host without a dot, where one can be read in both ways.
fn globbed(pattern: &Pattern) -> Option<String> {
    let text = pattern.as_str();
    let other = text.replace(".*", "").contains('*') || text.contains("localhost");
    guess::pattern(text, Action::Allow).filter(|_| other)
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
    let found = host_analysis::of_pattern(&Pattern::new(&spelling).ok()?);
    let sound = host.contains('.') && found.stray.is_none() && found.pin != Pin::Hosts(Vec::new());
    sound.then_some(spelling)
}
