//! A pattern: a regular expression that is searched, not anchored, in the canonical URL.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// A compiled pattern with the text that it was made from.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing there; as a regular expression it would match everything.
    #[error("the pattern is empty")]
    Empty,
    /// A character that no URL has; the name of it.
    #[error("the pattern has a control character ({0}), which no URL has")]
    Control(String),
    /// No regular expression; the message shows where.
    #[error("the pattern is no regular expression\n{0}")]
    Syntax(String),
    /// A regular expression that would take too much memory.
    #[error("the pattern is too large when compiled: `{0}`")]
    TooLarge(String),
}

/// Bytes that one compiled pattern may take, and its search cache. Patterns of real policies take a few kilobytes.
const SIZE_LIMIT: usize = 1 << 20;
/// How deep groups may be nested.
const NEST_LIMIT: u32 = 64;

impl Pattern {
    /// Compiles a pattern. White space around it is no part of it: no URL has any.
    ///
    /// # Errors
    /// [`PatternError`] if it is none, or one that can match nothing for a reason that its author cannot see.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if let Some(control) = text.chars().find(|c| is_invisible(*c)) {
            return Err(PatternError::Control(control.escape_unicode().to_string()));
        }
        let regex = RegexBuilder::new(text)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .nest_limit(NEST_LIMIT)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError::TooLarge(text.to_owned()),
                other => PatternError::Syntax(caret(text, &other)),
            })?;
        Ok(Pattern {
            text: text.to_owned(),
            regex,
        })
    }

    /// Whether it is found anywhere in `url`.
    pub fn matches(&self, url: &str) -> bool {
        self.regex.is_match(url)
    }

    /// The pattern as typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PatternError {
    /// What to write instead.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            PatternError::Empty => Some("to match every request write `.*`"),
            PatternError::Control(_) => {
                Some("in YAML, \"\\b\" in double quotes is a backspace: put the pattern in single quotes")
            }
            PatternError::Syntax(message) if message.contains("look-around") || message.contains("backreference") => {
                Some("write a deny rule before the allow rule instead: the first rule that matches decides")
            }
            PatternError::Syntax(_) => None,
            PatternError::TooLarge(_) => Some("write shorter repetitions, or split it into several rules"),
        }
    }
}

fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The pattern with a caret below the place that is wrong, and what is wrong.
fn caret(text: &str, error: &regex::Error) -> String {
    // The `regex` crate formats its error for a terminal, with the span lost; its parser's own error has it.
    let (span, kind) = match regex_syntax::ParserBuilder::new()
        .nest_limit(NEST_LIMIT)
        .build()
        .parse(text)
    {
        Err(regex_syntax::Error::Parse(error)) => (*error.span(), error.kind().to_string()),
        Err(regex_syntax::Error::Translate(error)) => (*error.span(), error.kind().to_string()),
        _ => return format!("    {text}\n{error}"),
    };
    let before = text.get(..span.start.offset).unwrap_or_default().chars().count();
    let marked = text
        .get(span.start.offset..span.end.offset)
        .unwrap_or_default()
        .chars()
        .count()
        .max(1);
    format!("    {text}\n    {}{} {kind}", " ".repeat(before), "^".repeat(marked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searched_anywhere() {
        let pattern = Pattern::new(r" github\.com ").expect("a pattern");
        assert_eq!(pattern.as_str(), r"github\.com");
        assert!(pattern.matches("https://github.com/"));
        assert!(pattern.matches("https://evil.example/?github.com"));
        assert!(!pattern.matches("https://githubxcom/"));
    }

    #[test]
    fn wrong_patterns_say_where() {
        for (text, message) in [
            (
                "a(b",
                "the pattern is no regular expression\n    a(b\n     ^ unclosed group",
            ),
            (
                "[z-a]",
                "the pattern is no regular expression\n    [z-a]\n     ^^^ invalid character class range, the start must be <= the end",
            ),
            ("^https://*", ""),
            (
                "*",
                "the pattern is no regular expression\n    *\n    ^ repetition operator missing expression",
            ),
            (
                r"a\y",
                "the pattern is no regular expression\n    a\\y\n     ^^ unrecognized escape sequence",
            ),
            (
                r"\p{x}",
                "the pattern is no regular expression\n    \\p{x}\n    ^^^^^ Unicode property not found",
            ),
            ("", "the pattern is empty"),
            ("  ", "the pattern is empty"),
            (
                "a\u{8}b",
                "the pattern has a control character (\\u{8}), which no URL has",
            ),
            (
                "a\u{2028}b",
                "the pattern has a control character (\\u{2028}), which no URL has",
            ),
            (
                "(a{1000}){1000}",
                "the pattern is too large when compiled: `(a{1000}){1000}`",
            ),
        ] {
            let outcome = Pattern::new(text).map(|_| ()).map_err(|error| error.to_string());
            let wanted = if message.is_empty() {
                Ok(())
            } else {
                Err(message.to_owned())
            };
            assert_eq!(outcome, wanted, "{text:?}");
        }
    }

    #[test]
    fn hints() {
        let hint = |text: &str| Pattern::new(text).err().and_then(|error| error.hint());
        assert!(hint("").is_some_and(|hint| hint.contains(".*")));
        assert!(hint("a\u{8}b").is_some_and(|hint| hint.contains("single quotes")));
        assert!(hint("(?!a)b").is_some_and(|hint| hint.contains("deny rule before")));
        assert!(hint(r"(a)\1").is_some_and(|hint| hint.contains("deny rule before")));
        assert_eq!(hint("(a"), None);
        assert!(
            hint("((((a{100}){100}){100}){100}").is_none(),
            "unbalanced, so a syntax error"
        );
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(matches!(Pattern::new(&deep), Err(PatternError::Syntax(_))));
    }
}
