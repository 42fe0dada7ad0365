//! What a policy says of one request.

/// Names one rule of a policy: its place in the order of trial, from 0.
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

/// The decision on one request. There is no default: whoever holds none must make one.
#[must_use = "a verdict that is not acted on is a hole"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Forward it; the rule that says so.
    Allow(RuleId),
    /// Refuse it.
    Deny(Reason),
}
