//! The decision on one request, and its reason.

/// Names one rule of a policy: its position, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub usize);

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A deny rule matched first.
    Rule(RuleId),
    /// No rule matched: the default.
    NoMatch,
}

/// The decision on one request. It has no default, so that no code can allow a request that was not judged.
#[must_use = "a verdict that is not acted on is a hole"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Forward it; the rule that says so.
    Allow(RuleId),
    /// Refuse it.
    Deny(Reason),
}
