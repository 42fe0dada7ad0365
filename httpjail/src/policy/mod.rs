//! Rules, and the verdict they give. Pure: no files, no clock, no runtime.
//!
//! A request becomes a [`Target`]; a [`Policy`] is a list of [`Rule`]s, and the first one that matches decides. What no
//! rule matches is denied.

mod explain;
pub mod learn;
pub mod lint;
mod matcher;
mod path;
mod pattern;
mod reach;
pub mod request;
mod rule;
mod spell;
mod target;
mod verdict;
pub mod yaml;

pub use explain::{Explanation, Outcome, Part, Step};
pub use lint::Warning;
pub use matcher::{Matcher, Place, PlaceError};
pub use pattern::{Pattern, PatternError};
pub use reach::Pin;
pub use rule::{Action, Methods, Rule, RuleError, Source};
pub use spell::rule_for;
pub use target::{Target, TargetError};
pub use verdict::{Reason, RuleId, Verdict};

/// Rules in their order of trial. Immutable once made.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules, tried in this order.
    pub fn new(rules: Vec<Rule>) -> Policy {
        Policy { rules }
    }

    /// The verdict on a request: that of the first rule that matches, and denial if none does.
    pub fn judge(&self, target: &Target) -> Verdict {
        match self.rules.iter().position(|rule| rule.matches(target)) {
            None => Verdict::Deny(Reason::NoMatch),
            Some(place) => match self.rules[place].action() {
                Action::Allow => Verdict::Allow(RuleId(place)),
                Action::Deny => Verdict::Deny(Reason::Rule(RuleId(place))),
            },
        }
    }

    /// The rule that a verdict of this policy names; `None` for the id of another policy.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0)
    }

    /// All rules, in their order of trial.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        self.rules.iter().enumerate().map(|(place, rule)| (RuleId(place), rule))
    }

    /// Whether an allow rule leads to servers on the host's loopback: it is pinned to `localhost` or to a loopback address.
    pub fn names_loopback(&self) -> bool {
        self.rules.iter().any(Rule::names_loopback)
    }

    /// Whether there is no rule at all: everything is denied.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests;
