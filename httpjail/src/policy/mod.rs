//! Judges requests by rules. Pure: no files, no clock, no runtime.
//!
//! A request becomes a [`Target`]. A [`Policy`] is an ordered list of [`Rule`]s, and the first that matches decides. A request
//! that no rule matches is denied.

mod entry;
mod explain;
pub(crate) mod guess;
mod hint;
mod host_analysis;
mod index;
pub mod learn;
pub mod lint;
mod matcher;
mod methods;
mod path;
mod pattern;
pub mod request;
mod rule;
mod ruleset;
mod suggest;
mod target;
mod url_part;
mod verdict;

pub(crate) use entry::{Fields, RuleEntry};
pub use explain::{Explanation, Outcome, Step};
pub use host_analysis::Pin;
pub use lint::Warning;
pub use matcher::{Matcher, Place, PlaceError};
pub use methods::Methods;
pub use pattern::{Pattern, PatternError};
pub use rule::{Action, Rule, RuleError, Source};
pub use ruleset::Policy;
pub(crate) use suggest::literal;
pub use suggest::{suggest_rule, suggest_rule_for_host};
pub(crate) use target::Origin;
pub use target::{Target, TargetError};
pub use url_part::Part;
pub use verdict::{Reason, RuleId, Verdict};

#[cfg(test)]
mod tests;
