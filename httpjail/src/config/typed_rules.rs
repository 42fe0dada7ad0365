//! The rules of the command line.

use super::error::ConfigError;
use crate::policy::{Rule, Source};

/// Parses the rules of `-r`.
///
/// # Errors
/// Returns [`ConfigError::Rule`] for the first invalid one.
pub(crate) fn typed_rules(texts: &[String]) -> Result<Vec<Rule>, ConfigError> {
    let rule = |(index, text): (usize, &String)| {
        let rule = Rule::parse(text, Source::Option(index + 1));
        rule.map_err(|error| ConfigError::Rule(index + 1, text.clone(), error))
    };
    texts.iter().enumerate().map(rule).collect()
}
