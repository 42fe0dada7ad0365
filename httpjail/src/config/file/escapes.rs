//! Accepts the one mistake that many policy files have: `"github\.com"` in double quotes, where YAML has no escape `\.`.

use std::borrow::Cow;

use crate::policy::Warning;

/// A scalar in double quotes with a backslash that does not begin an escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) key: &'static str,
    /// As typed, with the quotes.
    pub(super) typed: String,
}

/// A text with its bad escapes corrected.
pub(super) struct Mended {
    pub(super) text: String,
    pub(super) scalars: Vec<Scalar>,
}

const KEYS: [&str; 4] = ["pattern", "host", "path", "name"];

impl Scalar {
    /// Returns the text as it should be written.
    pub(super) fn single_quoted(&self) -> String {
        let inner = self
            .typed
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(&self.typed);
        let inner = inner.replace(r"\\", r"\").replace(r#"\""#, "\"");
        format!("'{}'", inner.replace('\'', "''"))
    }

    /// Makes the warning for the author.
    pub(super) fn warning(&self, file: &str) -> Warning {
        let (line, typed, key, quoted) = (self.line, &self.typed, self.key, self.single_quoted());
        Warning::new(
            format!("{file}:{line}: {typed} is read as {quoted}"),
            format!("in YAML, a backslash in double quotes begins an escape; write {key}: {quoted}"),
        )
    }
}

/// Returns true if this mistake caused the error.
pub(super) fn is_bad(error: &serde_yaml::Error) -> bool {
    error.to_string().contains("unknown escape character")
}

/// Doubles each backslash that does not begin an escape, in scalars in double quotes on one line with their key.
pub(super) fn mend(text: &str) -> Mended {
    let mut mended = Mended {
        text: String::with_capacity(text.len() + 64),
        scalars: Vec::new(),
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match find_scalar(line) {
            Some((key, start, end)) => {
                let fixed = double_bad_backslashes(&line[start..end]);
                if let Cow::Owned(_) = fixed {
                    mended.scalars.push(Scalar {
                        line: index + 1,
                        key,
                        typed: line[start..end].to_owned(),
                    });
                }
                mended.text.push_str(&line[..start]);
                mended.text.push_str(&fixed);
                mended.text.push_str(&line[end..]);
            }
            None => mended.text.push_str(line),
        }
    }
    mended
}

/// The key, and where its double-quoted value begins and ends, if the line is `[- ]key: "value"` and nothing else.
fn find_scalar(line: &str) -> Option<(&'static str, usize, usize)> {
    let item = line.trim_start();
    let entry = item.strip_prefix('-').map_or(item, str::trim_start);
    let key = KEYS.into_iter().find(|key| {
        entry
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with(':'))
    })?;
    let value = entry[key.len()..].trim_start().strip_prefix(':')?.trim_start();
    let start = line.len() - value.len();
    let mut chars = value.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' => {
                let end = start + at + 2;
                let rest = line[end..].trim();
                return (rest.is_empty() || rest.starts_with('#')).then_some((key, start, end));
            }
            _ => {}
        }
    }
    None
}

fn double_bad_backslashes(typed: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(typed.len() + 8);
    let mut chars = typed.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '\\' {
            let Some(next) = chars.next() else { break };
            // The escapes of YAML 1.2 §5.7.
            if !"0abt\tnvfre \"/\\N_LPxuU".contains(next) {
                out.push('\\');
            }
            out.push(next);
        }
    }
    if out == typed {
        Cow::Borrowed(typed)
    } else {
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_escapes_are_mended_and_good_ones_kept() {
        for (line, mended) in [
            (r#"  pattern: "github\.com""#, r#"  pattern: "github\\.com""#),
            (r#"- pattern : "a\.b\d+" # why"#, r#"- pattern : "a\\.b\\d+" # why"#),
            (r#"pattern: "a\\.b\.c\"\.""#, r#"pattern: "a\\.b\\.c\"\\.""#),
            (r#"pattern: "a\tb""#, r#"pattern: "a\tb""#),
            (r#"pattern: 'a\.b'"#, r#"pattern: 'a\.b'"#),
            (r#"# pattern: "a\.b""#, r#"# pattern: "a\.b""#),
            (r#"pattern: "a\.b" c"#, r#"pattern: "a\.b" c"#),
            (r#"pattern: "a\."#, r#"pattern: "a\."#),
            (r#"patterns: "a\.b""#, r#"patterns: "a\.b""#),
        ] {
            assert_eq!(mend(line).text, mended, "{line}");
        }
        let mended = mend("x: 1\r\n  pattern: \"it's\\.com\\\\d\"\r\n");
        assert_eq!(mended.scalars.len(), 1);
        assert_eq!(mended.scalars[0].line, 2);
        assert_eq!(mended.scalars[0].single_quoted(), r"'it''s\.com\d'");
        let scalar = Scalar {
            line: 1,
            key: "name",
            typed: "\"a\\.\\\"\"".into(),
        };
        assert_eq!(scalar.single_quoted(), "'a\\.\"'");
    }
}
