//! What a lint reports.

use std::fmt;

use crate::policy::verdict::RuleId;

/// A warning for the author of a policy. It changes no verdict.
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
    /// A request that shows it, `METHOD URL`; none for a rule that can match nothing.
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
    /// An unescaped dot in a name matches any character.
    LooseDot,
    /// An earlier rule matches whatever it matches.
    Shadowed,
    /// It comes after a rule that allows everything.
    LateDeny,
    /// The pattern contains a method.
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
    pub(super) fn new(kind: Kind, rule: RuleId, message: impl Into<String>) -> Finding {
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
