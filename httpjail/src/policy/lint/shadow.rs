//! Finds rules that are never reached, because an earlier rule matches everything that they match. Reports only what is
//! proved.

use http::Method;

use super::finding::{Finding, Kind};
use super::shown::{quoted, request};
use super::witness::{self, Witness};
use crate::policy::methods::METHODS;
use crate::policy::rule::{Action, Rule};
use crate::policy::ruleset::Policy;
use crate::policy::verdict::RuleId;

/// What is wrong with a rule for the rules before it; `url` is one that it matches.
pub(super) fn find(policy: &Policy, id: RuleId, rule: &Rule, url: &str) -> Option<Finding> {
    let before = policy.rules().take(id.0).map(|(_, earlier)| earlier);
    let mut late = None;
    for earlier in before {
        let Some(method) = common_method(rule, earlier) else {
            continue;
        };
        let shown = request(&method, url)?;
        if earlier.matcher().matches(&shown) != Some(true) {
            continue;
        }
        let covers = earlier.methods().cover(rule.methods());
        let everything = earlier.matcher().matches_everything();
        let overtaken = everything && earlier.action() == Action::Allow && rule.action() == Action::Deny;
        if overtaken && (covers || late.is_none()) {
            late = Some(Finding {
                request: Some(shown.to_string()),
                hint: Some(format!("put it before {}", quoted(earlier))),
                ..Finding::new(
                    Kind::LateDeny,
                    id,
                    format!("comes after {}, which allows everything first", quoted(earlier)),
                )
            });
            continue;
        }
        if covers && (everything || includes(earlier, rule)) {
            let same = earlier.action() == rule.action();
            return Some(Finding {
                request: Some(shown.to_string()),
                hint: Some(match same {
                    true => "remove it: it changes nothing".into(),
                    false => format!("put it before {}, or remove it", quoted(earlier)),
                }),
                ..Finding::new(
                    Kind::Shadowed,
                    id,
                    format!(
                        "is never reached: {} matches first whatever it matches",
                        quoted(earlier)
                    ),
                )
            });
        }
    }
    late
}

fn includes(earlier: &Rule, rule: &Rule) -> bool {
    let (all, some) = (earlier.matcher().as_pattern(), rule.matcher().as_pattern());
    witness::between(&some, Some(&all)) == Witness::None
}

/// A method that both rules are about, GET if they are.
fn common_method(rule: &Rule, other: &Rule) -> Option<Method> {
    METHODS
        .into_iter()
        .find(|method| rule.methods().contains(method) && other.methods().contains(method))
}
