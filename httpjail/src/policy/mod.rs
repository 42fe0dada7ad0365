//! Rules, and the verdict they give. Pure: no files, no clock, no runtime.

mod verdict;

pub use verdict::{Reason, RuleId, Verdict};
