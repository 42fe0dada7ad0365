//! Explains a verdict: each rule that was tried, up to the one that decided.

use std::fmt;

use super::{Part, Policy, RuleId, Target, Verdict};

/// A verdict with the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What [`Policy::judge`] says.
    pub verdict: Verdict,
    /// The rules in their order of trial, up to the one that matched, or all.
    pub steps: Vec<Step>,
}

/// What one rule said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which rule.
    pub rule: RuleId,
    /// What came of it.
    pub outcome: Outcome,
}

/// What comes of trying a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It matched, and so decided.
    Matched,
    /// It is about other methods.
    OtherMethod,
    /// It looks for something else, first seen in this part of the URL.
    Elsewhere(Part),
}

impl Policy {
    /// Returns the verdict on a request, and what each rule up to the deciding one said. It tries the rules one by one,
    /// without the index.
    ///
    /// ```
    /// use httpjail::policy::{Policy, Rule, RuleError, Source, request};
    ///
    /// let rules = [r"allow-get: ^https://example\.com/docs/", r"allow: ^https://example\.com/"];
    /// let rules = rules.iter().map(|text| Rule::parse(text, Source::Option(1)));
    /// let policy = Policy::new(rules.collect::<Result<_, RuleError>>()?);
    ///
    /// let target = request::read("GET https://example.com/index.html").expect("a request");
    /// let explanation = policy.explain(&target);
    /// let said: Vec<String> = explanation.steps.iter().map(|step| step.outcome.to_string()).collect();
    /// assert_eq!(said, ["another path", "matches"]);
    /// # Ok::<(), RuleError>(())
    /// ```
    pub fn explain(&self, target: &Target) -> Explanation {
        let mut steps = Vec::new();
        for (id, rule) in self.rules() {
            let outcome = if !rule.methods().contains(target.method()) {
                Outcome::OtherMethod
            } else if rule.matches(target) {
                Outcome::Matched
            } else {
                Outcome::Elsewhere(rule.matcher().differs(target))
            };
            steps.push(Step { rule: id, outcome });
            if outcome == Outcome::Matched {
                break;
            }
        }
        Explanation {
            verdict: self.judge(target),
            steps,
        }
    }
}

/// As a clause about the rule: `another host`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Matched => "matches",
            Outcome::OtherMethod => "another method",
            Outcome::Elsewhere(Part::Scheme) => "another scheme",
            Outcome::Elsewhere(Part::Host) => "another host",
            Outcome::Elsewhere(Part::Port) => "another port",
            Outcome::Elsewhere(Part::Path) => "another path",
            Outcome::Elsewhere(Part::Query) => "another query",
            Outcome::Elsewhere(Part::Anywhere) => "the pattern is not found",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{policy, target};
    use crate::policy::{Action, Matcher, Methods, Place, Rule, Source};

    #[track_caller]
    fn check(policy: &Policy, request: &str, said: &[&str]) {
        let target = target(request);
        let explanation = policy.explain(&target);
        assert_eq!(explanation.verdict, policy.judge(&target), "{request}");
        let found: Vec<String> = explanation.steps.iter().map(|step| step.outcome.to_string()).collect();
        assert_eq!(found, said, "{request}");
    }

    #[test]
    fn each_rule_up_to_the_match() {
        let policy = policy(&[
            "deny-post: .*",
            "deny: telemetry",
            r"allow: ^https://a\.test/x",
            "deny: .*",
        ]);
        check(
            &policy,
            "https://a.test/x",
            &["another method", "the pattern is not found", "matches"],
        );
        check(&policy, "POST https://a.test/x", &["matches"]);
    }

    #[test]
    fn pinned_patterns_say_what_differs() {
        let cases = [
            (r"^https://a\.test/x", "http://a.test/x", "another scheme"),
            (r"^https://a\.test/x", "https://b.test/x", "another host"),
            (r"^https://a\.test\.evil/x", "https://a.test/x", "another host"),
            (r"^https://a\.test/x", "https://a.test.evil/x", "another host"),
            (r"^https://a\.test:8443/x", "https://a.test/x", "another port"),
            (r"^https://a\.test/x", "https://a.test:8443/x", "another port"),
            (r"^https://a\.test(:\d+)?/x", "https://a.test:8443/y", "another path"),
            (r"^https://a\.test/x", "https://a.test/y", "another path"),
            (r"^https://a\.test/xy$", "https://a.test/x", "another path"),
            (r"^https://a\.test/x\?y", "https://a.test/x", "another query"),
            (r"^https://a\.test/x\?y", "https://a.test/x?z", "another query"),
            (r"^https://(a|b)\.test/[^/]+/x", "https://b.test/z", "another path"),
            (r"a\.test", "https://b.test/", "the pattern is not found"),
        ];
        for (pattern, url, said) in cases {
            check(&policy(&[&format!("allow: {pattern}")]), url, &[said]);
        }
    }

    #[test]
    fn places_say_what_differs() {
        let place = |host, path| {
            let matcher = Matcher::Place(Place::new(host, path).expect("a place"));
            Policy::new(vec![Rule::new(
                Action::Allow,
                Methods::EVERY,
                matcher,
                Source::Option(1),
            )])
        };
        check(&place("a.test", None), "https://b.test/", &["another host"]);
        check(&place("*.a.test", None), "https://a.test/", &["another host"]);
        check(&place("a.test", None), "https://a.test:444/", &["another port"]);
        check(&place("a.test", Some("/x*")), "https://a.test/y", &["another path"]);
        check(&place("a.test", Some("/x*")), "https://a.test/xy?z", &["matches"]);
    }
}
