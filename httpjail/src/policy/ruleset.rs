//! The rules of a policy in their order, and the verdict that they give together.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::index::Index;
use super::rule::{Action, Rule};
use super::target::Target;
use super::verdict::{Reason, RuleId, Verdict};

/// An ordered, immutable list of rules.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    index: Index,
    /// The bytes of the automata that are kept.
    held: AtomicUsize,
}

/// The bytes that the automata of all patterns may take together. Beyond it all are dropped, and built again when they are used.
const HELD_MAX: usize = 64 << 20;

impl Policy {
    /// Makes a policy of these rules, which are tried in this order.
    pub fn new(rules: Vec<Rule>) -> Policy {
        let index = Index::new(&rules);
        Policy {
            rules,
            index,
            held: AtomicUsize::new(0),
        }
    }

    /// Returns the verdict of the first rule that matches the request, and a denial if none does.
    ///
    /// ```
    /// use httpjail::policy::{Policy, Reason, Rule, RuleError, RuleId, Source, Verdict, request};
    ///
    /// let rules = [r"deny-post: ^https://example\.com/", r"allow: ^https://example\.com/"];
    /// let rules = rules.iter().map(|text| Rule::parse(text, Source::Option(1)));
    /// let policy = Policy::new(rules.collect::<Result<_, RuleError>>()?);
    ///
    /// let verdict = |text| request::read(text).map(|target| policy.judge(&target));
    /// assert_eq!(verdict("GET https://example.com/"), Ok(Verdict::Allow(RuleId(1))));
    /// assert_eq!(verdict("POST https://example.com/"), Ok(Verdict::Deny(Reason::Rule(RuleId(0)))));
    /// assert_eq!(verdict("GET https://example.org/"), Ok(Verdict::Deny(Reason::NoMatch)));
    /// # Ok::<(), RuleError>(())
    /// ```
    pub fn judge(&self, target: &Target) -> Verdict {
        let mut grown = 0;
        let found = self.index.first(self.rules.len(), target, |place| {
            self.rules[place].matches_metered(target, &mut grown)
        });
        if grown > 0 {
            self.hold(grown);
        }
        match found {
            None => Verdict::Deny(Reason::NoMatch),
            Some(place) => match self.rules[place].action() {
                Action::Allow => Verdict::Allow(RuleId(place)),
                Action::Deny => Verdict::Deny(Reason::Rule(RuleId(place))),
            },
        }
    }

    fn hold(&self, grown: usize) {
        if self.held.fetch_add(grown, Ordering::Relaxed) + grown > HELD_MAX {
            self.held.store(0, Ordering::Relaxed);
            self.rules.iter().for_each(Rule::forget);
        }
    }

    /// Returns the rule that a verdict of this policy names, or `None` for the id of another policy.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0)
    }

    /// Returns all rules in their order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        self.rules.iter().enumerate().map(|(place, rule)| (RuleId(place), rule))
    }

    /// Returns true if an allow rule is pinned to `localhost` or to a loopback address, and so leads to servers of this host.
    pub fn names_loopback(&self) -> bool {
        self.rules.iter().any(Rule::names_loopback)
    }

    /// Returns true if there is no rule, so that everything is denied.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{policy, target};

    #[test]
    fn automata_are_dropped_beyond_the_bound() {
        let policy = policy(&[r"allow: ^https://a\.test/[a-z]+[0-9]+[a-z]$"]);
        let target = target("GET https://a.test/ab12c");
        let built = || {
            let mut grown = 0;
            assert!(policy.rules[0].matches_metered(&target, &mut grown));
            grown
        };
        let held = || policy.held.load(Ordering::Relaxed);

        assert_eq!(policy.judge(&target), Verdict::Allow(RuleId(0)));
        let size = held();
        assert!(size > 0, "the automaton is counted");
        assert_eq!(built(), 0, "and kept");
        policy.hold(HELD_MAX - size);
        assert_eq!((held(), built()), (HELD_MAX, 0), "up to the bound");
        policy.hold(1);
        assert_eq!((held(), built()), (0, size), "beyond it, it is built again");
    }
}
