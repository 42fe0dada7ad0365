//! Finds rules that are risky or can match nothing, each with a request that shows it and a safer spelling.
//!
//! Some findings are shown before each run ([`mod@warnings`]), all of them by `httpjail lint` ([`findings`]).

mod checks;
mod finding;
mod shadow;
mod shown;
mod spelling;
mod warnings;
mod witness;

use super::methods::METHODS;
use super::ruleset::Policy;
use super::target::Target;
use super::verdict::{Reason, Verdict};
use checks::{dead, loose_dot, misplaced_method, unpinned};
use shown::request;
use witness::Witness;

pub use finding::{Finding, Kind, Warning};
pub(crate) use warnings::empty_methods;
pub use warnings::{unjudgeable_without_interception, warnings};

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

/// Returns the rules that decide none of these requests.
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

#[cfg(test)]
mod tests;
