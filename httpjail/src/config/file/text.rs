//! The text of one file, and how it is parsed.

use std::sync::Arc;

use serde::Deserialize;

use super::error::{FileError, Origin};
use super::escapes;
use super::spans::Lines;
use crate::policy::Warning;

/// One file, as text.
pub(super) struct Text {
    pub(super) file: Arc<str>,
    pub(super) text: String,
}

impl Text {
    pub(super) fn new(name: &str, bytes: Vec<u8>) -> Result<Text, FileError> {
        let file: Arc<str> = name.into();
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let (line, column) = end_of(&valid);
            let (file, text) = (&file, valid.as_str());
            Origin { file, text }.error(line, column, "the file is not UTF-8 text")
        })?;
        // A byte-order mark is not part of the text (YAML 1.2 §5.2).
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(Text { file, text })
    }

    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            file: &self.file,
            text: &self.text,
        }
    }

    /// Parses the text. Returns its content and the lines of its lists.
    pub(super) fn read<S: for<'de> Deserialize<'de> + Default>(
        &self,
        warnings: &mut Vec<Warning>,
    ) -> Result<(S, Lines), FileError> {
        let located = |error: &_| self.origin().located(error);
        let schema = match read(&self.text) {
            Err(error) if escapes::is_bad(&error) => {
                let mended = escapes::mend(&self.text);
                let schema = read(&mended.text).map_err(|error| located(&error))?;
                warnings.extend(mended.scalars.iter().map(|scalar| scalar.warning(&self.file)));
                schema
            }
            other => other.map_err(|error| located(&error))?,
        };
        Ok((schema, Lines::of(&self.text)))
    }

    /// Returns the number of the line that begins with this key.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let begins = |line: &str| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        self.text.lines().position(begins).map_or(1, |index| index + 1)
    }
}

/// Returns line and column after the last character.
fn end_of(text: &str) -> (usize, usize) {
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

/// Reads a file; an empty one is a policy without rules.
fn read<'de, S: Deserialize<'de> + Default>(text: &'de str) -> Result<S, serde_yaml::Error> {
    serde_yaml::from_str::<Option<S>>(text).map(Option::unwrap_or_default)
}
