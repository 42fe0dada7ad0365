//! A pattern: a regular expression that is searched, not anchored, in the canonical URL.
//!
//! It is read and checked when the policy is loaded, and most are then decided by comparing literals. The others get an
//! automaton when they are first asked, which can be forgotten again.

mod automaton;
#[cfg(test)]
mod odd;
mod plain;
mod shape;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use memchr::memmem::Finder;
use regex_syntax::hir::Hir;

use super::meant;
use super::rule::Action;
use automaton::Automaton;

/// A pattern with the text that it was made from.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: Box<str>,
    test: Test,
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

/// How deep groups may be nested.
const NEST_LIMIT: u32 = 64;

/// How a URL is tested.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// Every URL matches.
    Every,
    /// None does.
    Nothing,
    /// It does if one of these is there.
    Literals(Where, Box<[Box<str>]>),
    /// It does if one of these is anywhere in it.
    Contains(Box<[Finder<'static>]>),
    /// An automaton knows.
    Search(Box<Search>),
}

/// Where in the URL a literal must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Whole,
    Start,
    /// The whole but for the query.
    Bare,
    End,
    Within,
}

/// What must be so before the automaton is asked, and the automaton once it was.
#[derive(Debug)]
pub(super) struct Search {
    /// One of these begins every URL that matches. None: nothing is known.
    pub(super) starts: Box<[Box<str>]>,
    pub(super) needs: Needs,
    automaton: ArcSwapOption<Automaton>,
}

/// Texts of which every URL that matches contains one. None: nothing is known.
#[derive(Debug, Default, Clone)]
pub(super) struct Needs {
    /// They are written in lower case, and may be there in any.
    pub(super) folded: bool,
    pub(super) texts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern. White space around it is no part of it: no URL has any.
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
        let test = match plain::test(text) {
            Some(test) => test,
            None => {
                let hir = parse(text).map_err(|error| PatternError::Syntax(caret(text, &error)))?;
                if shape::states(&hir) > automaton::SURELY_SMALL && !automaton::fits(&hir) {
                    return Err(PatternError::TooLarge(text.to_owned()));
                }
                shape::test(&hir)
            }
        };
        Ok(Pattern {
            text: text.into(),
            test,
        })
    }

    /// Whether it is found anywhere in `url`; `None` if that cannot be said, which should not be and must not allow.
    pub fn matches(&self, url: &str) -> Option<bool> {
        self.matches_metered(url, &mut 0)
    }

    /// The same, and adds to `grown` the bytes of an automaton that was made for it.
    pub(super) fn matches_metered(&self, url: &str, grown: &mut usize) -> Option<bool> {
        let search = match &self.test {
            Test::Every => return Some(true),
            Test::Nothing => return Some(false),
            Test::Literals(place, texts) => return Some(texts.iter().any(|text| place.holds(text, url))),
            Test::Contains(texts) => return Some(texts.iter().any(|text| text.find(url.as_bytes()).is_some())),
            Test::Search(search) => search,
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

    /// Gives the automaton's memory back.
    pub(super) fn forget(&self) {
        if let Test::Search(search) = &self.test {
            search.automaton.store(None);
        }
    }

    /// Texts of which one begins every URL that matches. None: nothing is known.
    pub(super) fn starts(&self) -> &[Box<str>] {
        match &self.test {
            Test::Literals(Where::Whole | Where::Bare | Where::Start, texts) => texts,
            Test::Search(search) => &search.starts,
            Test::Every | Test::Nothing | Test::Literals(..) | Test::Contains(_) => &[],
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

    pub(super) fn test(&self) -> &Test {
        &self.test
    }

    /// The pattern as typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Test {
    fn literals(place: Where, texts: Box<[Box<str>]>) -> Test {
        match place {
            Where::Within => Test::Contains(
                texts
                    .iter()
                    .map(|text| Finder::new(text.as_bytes()).into_owned())
                    .collect(),
            ),
            place => Test::Literals(place, texts),
        }
    }
}

impl Where {
    fn holds(self, text: &str, url: &str) -> bool {
        match self {
            Where::Whole => url == text,
            Where::Start => url.starts_with(text),
            Where::Bare => url
                .strip_prefix(text)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('?')),
            Where::End => url.ends_with(text),
            // Made a finder of: `Test::literals`.
            Where::Within => contains(url, text),
        }
    }
}

impl Search {
    fn new(starts: Box<[Box<str>]>, needs: Needs) -> Search {
        let known = !starts.iter().any(|start| start.is_empty());
        Search {
            starts: if known { starts } else { Box::default() },
            needs,
            automaton: ArcSwapOption::empty(),
        }
    }

    fn may_match(&self, url: &str) -> bool {
        if !self.starts.is_empty() {
            return self.starts.iter().any(|start| url.starts_with(&**start));
        }
        self.needs.folded || self.needs.texts.is_empty() || self.needs.texts.iter().any(|text| contains(url, text))
    }
}

impl Clone for Search {
    fn clone(&self) -> Search {
        Search {
            starts: self.starts.clone(),
            needs: self.needs.clone(),
            automaton: ArcSwapOption::empty(),
        }
    }
}

impl Needs {
    /// Those that say more.
    fn better(self, other: Needs) -> Needs {
        if other.weight() > self.weight() { other } else { self }
    }

    /// How much the one that tells least does.
    fn weight(&self) -> usize {
        self.texts.iter().map(|text| telling(text)).min().unwrap_or(0)
    }
}

/// The length of a text without what most URLs begin with.
fn telling(text: &str) -> usize {
    let rest = text.strip_prefix("http").unwrap_or(text);
    rest.strip_prefix('s').unwrap_or(rest).trim_start_matches("://").len()
}

fn contains(url: &str, text: &str) -> bool {
    memchr::memmem::find(url.as_bytes(), text.as_bytes()).is_some()
}

/// The pattern as it is searched for.
fn parse(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    let mut parser = regex_syntax::ParserBuilder::new().nest_limit(NEST_LIMIT).build();
    Ok(shape::in_urls(parser.parse(text)?))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PatternError {
    /// What to write instead of `text`.
    pub fn hint(&self, text: &str) -> Option<String> {
        let known = match self {
            PatternError::Empty => "to match every request write `.*`",
            PatternError::Control(_) => {
                "in YAML, \"\\b\" in double quotes is a backspace: put the pattern in single quotes"
            }
            PatternError::Syntax(message) if message.contains("look-around") || message.contains("backreference") => {
                "write a deny rule before the allow rule instead: the first rule that matches decides"
            }
            PatternError::Syntax(_) => {
                return meant::pattern(text, Action::Allow).map(|meant| format!("write `{meant}`"));
            }
            PatternError::TooLarge(_) => "write shorter repetitions, or split it into several rules",
        };
        Some(known.to_owned())
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
