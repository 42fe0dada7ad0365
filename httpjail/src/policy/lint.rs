//! What is risky or dead in a policy, each with a request that shows it and a spelling that is not.
//!
//! Some of it is said before each run ([`warnings`]), all of it by `httpjail lint` ([`findings`]).

mod shadow;
mod spelling;
mod witness;

use std::fmt;

use http::Method;

use super::matcher::Matcher;
use super::meant;
use super::pattern::Pattern;
use super::reach::{self, Https, Pin};
use super::rule::{Action, METHODS, Methods, Rule};
use super::{Policy, Reason, RuleId, Target, Verdict};
use crate::net::Scheme;
use witness::Witness;

/// Something that its author should look at. It changes no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is risky.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// What is wrong with one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which kind of wrong.
    pub kind: Kind,
    /// The rule.
    pub rule: RuleId,
    /// What is wrong: a clause of which the rule is the subject.
    pub message: String,
    /// A request that shows it, `METHOD URL`. What can match nothing has none.
    pub request: Option<String>,
    /// The rule as it was probably meant, spelled as for `-r`.
    pub mended: Option<String>,
    /// What to do where no spelling helps.
    pub hint: Option<String>,
}

/// The kinds of what can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It can match no request.
    Dead,
    /// It allows hosts that its author did not mean.
    Unpinned,
    /// A dot of a name stands for any character.
    LooseDot,
    /// An earlier rule matches whatever it matches.
    Shadowed,
    /// It denies what was allowed before, with everything else.
    LateDeny,
    /// A method stands where none can be.
    Method,
    /// No request of a log was decided by it.
    Unused,
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

impl Finding {
    fn new(kind: Kind, rule: RuleId, message: impl Into<String>) -> Finding {
        Finding {
            kind,
            rule,
            message: message.into(),
            request: None,
            mended: None,
            hint: None,
        }
    }
}

impl Kind {
    /// Its name, for those who sort by it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Dead => "dead",
            Kind::Unpinned => "unpinned",
            Kind::LooseDot => "unescaped-dot",
            Kind::Shadowed => "shadowed",
            Kind::LateDeny => "deny-after-everything",
            Kind::Method => "method",
            Kind::Unused => "never-matched",
        }
    }
}

/// More rules than this are not linted: each may take some milliseconds.
const LINTED_MAX: usize = 5_000;

/// All that is wrong with the rules, in their order; and how many rules were not looked at, because there are too many.
pub fn findings(policy: &Policy) -> (Vec<Finding>, usize) {
    let mut found = Vec::new();
    for (id, rule) in policy.rules().take(LINTED_MAX) {
        if let Some(finding) = misplaced_method(id, rule).or_else(|| dead(id, rule)) {
            found.push(finding);
            continue;
        }
        let open = unpinned(id, rule);
        let mended = open.as_ref().is_some_and(|finding| finding.mended.is_some());
        found.extend(open);
        if !mended {
            found.extend(loose_dot(id, rule));
        }
        if let Witness::Url(url) = witness::between(&rule.matcher().as_pattern(), None) {
            found.extend(shadow::find(policy, id, rule, &url));
        }
    }
    (found, policy.rules().len().saturating_sub(LINTED_MAX))
}

/// The rules that decide none of these requests.
pub fn unused<'t>(policy: &Policy, requests: impl IntoIterator<Item = &'t Target>) -> Vec<Finding> {
    let mut used = vec![false; policy.rules().len()];
    let mut count = 0_usize;
    for target in requests {
        count += 1;
        match policy.judge(target) {
            Verdict::Allow(id) | Verdict::Deny(Reason::Rule(id)) => used[id.0] = true,
            Verdict::Deny(Reason::NoMatch) => (),
        }
    }
    let idle = policy.rules().filter(|(id, _)| !used[id.0]);
    idle.map(|(id, rule)| {
        let method = METHODS.into_iter().find(|method| rule.methods().contains(method));
        let example = match witness::between(&rule.matcher().as_pattern(), None) {
            Witness::Url(url) if id.0 < LINTED_MAX => method.and_then(|method| request(&method, &url)),
            _ => None,
        };
        Finding {
            request: example.map(|target| target.to_string()),
            hint: Some("remove it if nothing needs it".into()),
            ..Finding::new(
                Kind::Unused,
                id,
                format!("decided none of the {count} requests of the log"),
            )
        }
    })
    .collect()
}

/// The request for a canonical URL.
fn request(method: &Method, url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let (authority, path) = rest.split_at(rest.find(['/', '*'])?);
    Target::new(method, scheme, authority, path)
        .ok()
        .filter(|target| target.url() == url)
}

/// More patterns than this are not walked: it takes up to a millisecond each, and a command waits for it.
const WALKED_MAX: usize = 200;

/// Rules that allow more than they seem to, and rules that can match nothing.
pub fn warnings(policy: &Policy) -> Vec<Warning> {
    let mut found: Vec<Warning> = looked_at(policy)
        .filter_map(|(id, rule)| {
            let finding = dead(id, rule).or_else(|| unpinned(id, rule))?;
            Some(warning(rule, finding))
        })
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
    looked_at(policy).filter_map(|(_, rule)| unjudgeable(rule)).collect()
}

fn looked_at(policy: &Policy) -> impl Iterator<Item = (RuleId, &Rule)> {
    let mut patterns = 0;
    policy.rules().filter(move |(_, rule)| {
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

fn warning(rule: &Rule, finding: Finding) -> Warning {
    let hint = match (finding.mended, finding.kind) {
        (Some(mended), Kind::Unpinned) => Some(format!("write `{mended}`")),
        _ => finding.hint,
    };
    let message = match finding.request.as_deref().and_then(|request| request.split_once(' ')) {
        Some((_, url)) if finding.kind == Kind::Unpinned => {
            format!("{} {}: it also allows {url}", quoted(rule), finding.message)
        }
        _ => format!("{} {}", quoted(rule), finding.message),
    };
    Warning { message, hint }
}

fn spelled(rule: &Rule, pattern: &str) -> String {
    format!("{}{}: {pattern}", rule.action(), rule.methods())
}

fn misplaced_method(id: RuleId, rule: &Rule) -> Option<Finding> {
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

fn dead(id: RuleId, rule: &Rule) -> Option<Finding> {
    matches!(rule.pin(), Pin::Hosts(hosts) if hosts.is_empty()).then(|| Finding {
        mended: spelling::revived(&rule.matcher().as_pattern()).map(|text| spelled(rule, &text)),
        hint: Some(
            "URLs are written `https://host/path`: scheme and host in lower-case ASCII, the default port left out, and always a slash after the host"
                .into(),
        ),
        ..Finding::new(Kind::Dead, id, "can match no request")
    })
}

fn unpinned(id: RuleId, rule: &Rule) -> Option<Finding> {
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
    let stray = rule.reach().stray.as_ref()?;
    let method = METHODS.into_iter().find(|method| rule.methods().contains(method))?;
    Some(Finding {
        request: Some(format!("{method} {stray}")),
        mended: globbed(pattern).or_else(|| pinned_spelling(pattern)).map(|text| spelled(rule, &text)),
        hint: Some(r"begin the pattern with `^https://HOST/`, dots written `\.` and `[^/]*` for any label, or use `host:` in a YAML file".into()),
        ..Finding::new(Kind::Unpinned, id, "is not pinned to a host")
    })
}

fn loose_dot(id: RuleId, rule: &Rule) -> Option<Finding> {
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

/// The pattern that was meant by a glob, or by a host without a dot, where one can be read in both ways.
fn globbed(pattern: &Pattern) -> Option<String> {
    let text = pattern.as_str();
    let other = text.replace(".*", "").contains('*') || text.contains("localhost");
    meant::pattern(text, Action::Allow).filter(|_| other)
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
pub(crate) fn empty_methods(rule: &Rule) -> Option<Warning> {
    (rule.action() == Action::Allow && rule.methods() == Methods::EVERY).then(|| {
        Warning::new(
            format!("{}: `methods:` is left empty, which means every method", quoted(rule)),
            "list them (`methods: [get, head]`), or leave `methods:` away",
        )
    })
}

#[cfg(test)]
mod tests;
