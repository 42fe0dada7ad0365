//! The warnings that are shown before each run.

use http::Method;

use super::checks::{dead, unpinned};
use super::finding::{Finding, Kind, Warning};
use super::shown::quoted;
use crate::policy::host_analysis::Https;
use crate::policy::matcher::Matcher;
use crate::policy::methods::Methods;
use crate::policy::rule::{Action, Rule};
use crate::policy::ruleset::Policy;
use crate::policy::verdict::RuleId;

/// The most patterns that are analyzed: each takes up to a millisecond, and the command waits for it.
pub(super) const WALKED_MAX: usize = 200;

/// Returns the rules that allow more than they seem to, and the rules that can match nothing.
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
    let what = match (rule.methods().contains(&Method::CONNECT), rule.host_analysis().https) {
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

/// `methods:` with nothing after it, which reads like "none".
pub(crate) fn empty_methods(rule: &Rule) -> Option<Warning> {
    (rule.action() == Action::Allow && rule.methods() == Methods::EVERY).then(|| {
        Warning::new(
            format!("{}: `methods:` is left empty, which means every method", quoted(rule)),
            "list them (`methods: [get, head]`), or leave `methods:` away",
        )
    })
}
