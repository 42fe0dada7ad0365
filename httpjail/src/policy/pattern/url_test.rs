//! How a URL is tested against a pattern: by literals where they decide, otherwise by an automaton.

use arc_swap::ArcSwapOption;
use memchr::memmem::Finder;

use super::automaton::Automaton;

/// How a URL is tested.
#[derive(Debug, Clone)]
pub(in crate::policy) enum UrlTest {
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
pub(in crate::policy) enum Where {
    Whole,
    Start,
    /// The whole but for the query.
    Bare,
    End,
    Within,
}

/// Necessary conditions that are checked before the automaton runs, and the automaton once it is built.
#[derive(Debug)]
pub(in crate::policy) struct Search {
    /// One of these begins every URL that matches. None: nothing is known.
    pub(in crate::policy) starts: Box<[Box<str>]>,
    pub(in crate::policy) needs: Needs,
    pub(super) automaton: ArcSwapOption<Automaton>,
}

/// Texts of which every URL that matches contains one. None: nothing is known.
#[derive(Debug, Default, Clone)]
pub(in crate::policy) struct Needs {
    /// They are written in lower case, and may be there in any.
    pub(in crate::policy) folded: bool,
    pub(in crate::policy) texts: Vec<String>,
}

impl UrlTest {
    pub(super) fn literals(place: Where, texts: Box<[Box<str>]>) -> UrlTest {
        match place {
            Where::Within => UrlTest::Contains(
                texts
                    .iter()
                    .map(|text| Finder::new(text.as_bytes()).into_owned())
                    .collect(),
            ),
            place => UrlTest::Literals(place, texts),
        }
    }
}

impl Where {
    pub(super) fn holds(self, text: &str, url: &str) -> bool {
        match self {
            Where::Whole => url == text,
            Where::Start => url.starts_with(text),
            Where::Bare => url
                .strip_prefix(text)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('?')),
            Where::End => url.ends_with(text),
            // Made a finder of: `UrlTest::literals`.
            Where::Within => contains(url, text),
        }
    }
}

impl Search {
    pub(super) fn new(starts: Box<[Box<str>]>, needs: Needs) -> Search {
        let known = !starts.iter().any(|start| start.is_empty());
        Search {
            starts: if known { starts } else { Box::default() },
            needs,
            automaton: ArcSwapOption::empty(),
        }
    }

    pub(super) fn may_match(&self, url: &str) -> bool {
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
    pub(super) fn better(self, other: Needs) -> Needs {
        if other.weight() > self.weight() { other } else { self }
    }

    /// How much the one that tells least does.
    fn weight(&self) -> usize {
        self.texts.iter().map(|text| telling(text)).min().unwrap_or(0)
    }
}

/// The length of a text without what most URLs begin with.
pub(super) fn telling(text: &str) -> usize {
    let rest = text.strip_prefix("http").unwrap_or(text);
    rest.strip_prefix('s').unwrap_or(rest).trim_start_matches("://").len()
}

fn contains(url: &str, text: &str) -> bool {
    memchr::memmem::find(url.as_bytes(), text.as_bytes()).is_some()
}
