//! A pattern: a regular expression that is searched, not anchored, in the canonical URL.
//!
//! It is checked when the policy is loaded. Most patterns are decided by comparing literals. The others get an automaton when
//! they are first used, which can be dropped again to free memory.

mod automaton;
#[cfg(test)]
mod differential;
mod hir;
mod plain;
mod url_test;

use std::fmt;
use std::sync::Arc;

use regex_syntax::hir::Hir;

use automaton::Automaton;

pub(super) use url_test::{UrlTest, Where};

/// A pattern with the text that it was made from.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: Box<str>,
    test: UrlTest,
}

/// Why a text cannot be parsed as a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty. As a regular expression it would match everything.
    #[error("the pattern is empty")]
    Empty,
    /// The text has a character that a URL cannot have; its name.
    #[error("the pattern has a control character ({0}), which no URL has")]
    Control(String),
    /// The text is not a regular expression; the message shows where.
    #[error("invalid regular expression\n{0}")]
    Syntax(String),
    /// The automaton would take too much memory.
    #[error("the pattern is too large when compiled: `{0}`")]
    TooLarge(String),
}

/// How deep groups may be nested.
const NEST_LIMIT: u32 = 64;

impl Pattern {
    /// Parses a pattern. White space around it is ignored: a URL has none.
    ///
    /// # Errors
    /// Returns a [`PatternError`] if it is not a pattern, or can match nothing for a reason that its author cannot see.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if let Some(control) = text.chars().find(|c| is_invisible(*c)) {
            return Err(PatternError::Control(control.escape_unicode().to_string()));
        }
        let test = match plain::test(text) {
            Some(test) => test,
            None => {
                let hir = parse(text).map_err(|error| PatternError::Syntax(caret(text, &error)))?;
                if hir::states(&hir) > automaton::SURELY_SMALL && !automaton::fits(&hir) {
                    return Err(PatternError::TooLarge(text.to_owned()));
                }
                hir::test(&hir)
            }
        };
        Ok(Pattern {
            text: text.into(),
            test,
        })
    }

    /// Returns whether it is found anywhere in `url`. `None` means that the automaton gave up: the caller must not allow then.
    pub fn matches(&self, url: &str) -> Option<bool> {
        self.matches_metered(url, &mut 0)
    }

    /// The same, and adds to `grown` the bytes of an automaton that was made for it.
    pub(super) fn matches_metered(&self, url: &str, grown: &mut usize) -> Option<bool> {
        let search = match &self.test {
            UrlTest::Every => return Some(true),
            UrlTest::Nothing => return Some(false),
            UrlTest::Literals(place, texts) => return Some(texts.iter().any(|text| place.holds(text, url))),
            UrlTest::Contains(texts) => return Some(texts.iter().any(|text| text.find(url.as_bytes()).is_some())),
            UrlTest::Search(search) => search,
        };
        if !search.may_match(url) {
            return Some(false);
        }
        if let Some(automaton) = &*search.automaton.load() {
            return automaton.finds(url);
        }
        let automaton = Arc::new(Automaton::new(&parse(&self.text).ok()?)?);
        *grown += automaton.size();
        search.automaton.store(Some(automaton.clone()));
        automaton.finds(url)
    }

    /// Drops the automaton.
    pub(super) fn forget(&self) {
        if let UrlTest::Search(search) = &self.test {
            search.automaton.store(None);
        }
    }

    /// Texts of which one begins every URL that matches. None: nothing is known.
    pub(super) fn starts(&self) -> &[Box<str>] {
        match &self.test {
            UrlTest::Literals(Where::Whole | Where::Bare | Where::Start, texts) => texts,
            UrlTest::Search(search) => &search.starts,
            UrlTest::Every | UrlTest::Nothing | UrlTest::Literals(..) | UrlTest::Contains(_) => &[],
        }
    }

    /// The hosts of all URLs that can match, if they can be seen; an IPv6 address only as far as its first colon.
    pub(super) fn spelled_hosts(&self) -> Option<Vec<&str>> {
        fn host(start: &str) -> Option<&str> {
            let rest = start
                .strip_prefix("https://")
                .or_else(|| start.strip_prefix("http://"))?;
            rest.find(['/', ':', '*']).map(|end| &rest[..end])
        }
        let starts = self.starts();
        let hosts: Option<Vec<&str>> = starts.iter().map(|start| host(start)).collect();
        hosts.filter(|hosts| !hosts.is_empty())
    }

    pub(super) fn test(&self) -> &UrlTest {
        &self.test
    }

    /// The pattern as typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The pattern as it is searched for.
fn parse(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    let mut parser = regex_syntax::ParserBuilder::new().nest_limit(NEST_LIMIT).build();
    Ok(hir::in_urls(parser.parse(text)?))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The pattern with a caret below the place that is wrong, and what is wrong.
fn caret(text: &str, error: &regex_syntax::Error) -> String {
    let (span, kind) = match error {
        regex_syntax::Error::Parse(error) => (*error.span(), error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (*error.span(), error.kind().to_string()),
        other => return format!("    {text}\n{other}"),
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
mod tests;
