//! The rules of the command line.

use super::error::ConfigError;
use crate::policy::{Rule, Source};

/// The rules of `-r`.
///
/// # Errors
/// [`ConfigError::Rule`] for the first that is none.
pub(crate) fn typed_rules(texts: &[String]) -> Result<Vec<Rule>, ConfigError> {
    let rule = |(index, text): (usize, &String)| {
        let rule = Rule::parse(text, Source::Option(index + 1));
        rule.map_err(|error| ConfigError::Rule(index + 1, text.clone(), error))
    };
    texts.iter().enumerate().map(rule).collect()
}
