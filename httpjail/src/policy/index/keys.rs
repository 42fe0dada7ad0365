//! The keys that a rule is filed under and that a URL looks up: the same hashes, computed from both.

use memchr::memmem::Finder;

use super::ngrams::Text;
use crate::net::Scheme;

use crate::policy::matcher::{Matcher, Place, PlaceHost, PlacePath};
use crate::policy::pattern::{UrlTest, Where};
use crate::policy::target::Target;

/// One of these is true of every URL that the rule matches.
#[derive(Debug)]
pub(super) enum Key {
    /// It begins with this, which ends where a segment ends.
    Start(String),
    /// It has this host.
    Host(String),
    /// Its host ends in this, which begins with a dot.
    Suffix(String),
}

const STARTS: u64 = 1;
const HOSTS: u64 = 2;

impl Key {
    pub(super) fn hash(&self) -> u64 {
        match self {
            Key::Start(text) => {
                let mut last = 0;
                stops(text, |hash| last = hash);
                last
            }
            Key::Host(text) | Key::Suffix(text) => mixed(HOSTS, text.as_bytes()),
        }
    }
}

/// Returns the keys of a rule: every URL that it matches has one of them. An empty list: the rule is tried with every request.
pub(super) fn keys(matcher: &Matcher) -> Vec<Key> {
    match matcher {
        Matcher::Pattern(pattern) => match pattern.test() {
            // Filed under what no URL has.
            UrlTest::Nothing => vec![Key::Host(String::new())],
            // After a query there is no stop, but a second `?` may follow what is bare.
            UrlTest::Literals(at, _) => all(pattern.starts(), |text| {
                start(text, *at == Where::Whole || *at == Where::Bare && !text.contains('?'))
            }),
            UrlTest::Every | UrlTest::Contains(_) | UrlTest::Search(_) => {
                all(pattern.starts(), |text| start(text, false))
            }
        },
        Matcher::Place(place) => match place.parts() {
            (PlaceHost::Below(suffix), ..) => vec![Key::Suffix(suffix.clone())],
            (PlaceHost::Exactly(host), _, None) => vec![Key::Host(host.to_string())],
            (_, _, Some(path)) => {
                let whole = matches!(path, PlacePath::Exactly(_));
                all(&urls(place), |url| start(url, whole))
            }
        },
    }
}

/// Returns texts of which every URL that the rule matches contains one, for their ngrams. An empty list: it has no such texts.
pub(super) fn texts(matcher: &Matcher) -> Vec<Text> {
    let each = |texts: &[Box<str>]| texts.iter().map(|text| Text::new(text)).collect();
    match matcher {
        Matcher::Pattern(pattern) => match pattern.test() {
            UrlTest::Every | UrlTest::Nothing => Vec::new(),
            UrlTest::Literals(_, texts) => each(texts),
            UrlTest::Contains(texts) => {
                let text = |finder: &Finder<'_>| Text::new(&String::from_utf8_lossy(finder.needle()));
                texts.iter().map(text).collect()
            }
            UrlTest::Search(search) if search.needs.texts.is_empty() => each(&search.starts),
            UrlTest::Search(search) => search.needs.texts.iter().map(|text| Text::new(text)).collect(),
        },
        Matcher::Place(place) => each(&urls(place)),
    }
}

/// How URLs at a place begin, one for each scheme; none if its host or its path is not spelled out.
fn urls(place: &Place) -> Vec<Box<str>> {
    let (PlaceHost::Exactly(host), port, Some(PlacePath::Exactly(path) | PlacePath::Begins(path))) = place.parts()
    else {
        return Vec::new();
    };
    let url = |scheme: Scheme| match port.filter(|port| *port != scheme.default_port()) {
        Some(port) => format!("{}://{host}:{port}{path}", scheme.as_str()),
        None => format!("{}://{host}{path}", scheme.as_str()),
    };
    [Scheme::Https, Scheme::Http].map(|scheme| url(scheme).into()).into()
}

/// A key for each, or none at all.
fn all(texts: &[Box<str>], key: impl Fn(&str) -> Option<Key>) -> Vec<Key> {
    texts
        .iter()
        .map(|text| key(text))
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// What trying a rule costs, in comparisons of literals.
pub(super) fn cost(matcher: &Matcher) -> usize {
    match matcher {
        Matcher::Place(_) => 1,
        Matcher::Pattern(pattern) => match pattern.test() {
            UrlTest::Every | UrlTest::Nothing => 1,
            UrlTest::Contains(texts) => 2 * texts.len(),
            UrlTest::Literals(_, texts) => texts.len(),
            UrlTest::Search(search) if !search.starts.is_empty() => search.starts.len() + 1,
            UrlTest::Search(_) => 8,
        },
    }
}

/// The key for URLs that begin with `text`, or are it: as much of it as is sure to end where a segment ends.
fn start(text: &str, whole: bool) -> Option<Key> {
    let (_, rest) = text.split_once("://")?;
    let authority = text.len() - rest.len();
    let path = text[authority..].find('/').map(|at| authority + at);
    match path {
        // Up to the end, or to the query: a stop of its own.
        _ if whole => Some(Key::Start(text.to_owned())),
        Some(path) => {
            let before_query = text.find('?').unwrap_or(text.len());
            let end = text[..before_query].rfind('/').filter(|end| *end >= path)? + 1;
            Some(Key::Start(text[..end].to_owned()))
        }
        None => host_end(rest).map(|end| Key::Host(rest[..end].to_owned())),
    }
}

/// Where the host ends in what follows `://`, if it can be seen to end.
fn host_end(rest: &str) -> Option<usize> {
    match rest.strip_prefix('[') {
        Some(inner) => inner.find(']').map(|at| at + 2),
        None => rest.find([':', '/', '*']),
    }
}

/// Each hash under which rules about the beginning of this URL are filed.
pub(super) fn starts(target: &Target, found: impl FnMut(u64)) {
    stops(target.url(), found);
}

/// The hash of every part of a URL from its beginning to a stop: behind each slash of the path, before the query, at the end.
fn stops(url: &str, mut found: impl FnMut(u64)) {
    let bytes = url.as_bytes();
    let mut hash = STARTS;
    // After `https://`, whose slashes are not part of the path.
    let mut from = 0;
    let mut at = url.find("://").map_or(0, |at| at + 3);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'/' => {
                hash = mixed(hash, &bytes[from..=at]);
                from = at + 1;
                found(hash);
            }
            b'?' => break,
            _ => (),
        }
        at += 1;
    }
    if from < at {
        hash = mixed(hash, &bytes[from..at]);
        found(hash);
    }
    if at < bytes.len() {
        found(mixed(hash, &bytes[at..]));
    }
}

/// Each hash under which rules about this host are filed.
pub(super) fn hosts(target: &Target, exactly: bool, suffixes: bool, mut found: impl FnMut(u64)) {
    let authority = target.authority();
    let host = &authority[..host_end(authority).unwrap_or(authority.len())];
    if exactly {
        found(mixed(HOSTS, host.as_bytes()));
    }
    if suffixes {
        for (at, _) in host.match_indices('.') {
            found(mixed(HOSTS, &host.as_bytes()[at..]));
        }
    }
}

/// Mixes bytes into a hash. A collision costs one more comparison and changes no verdict.
fn mixed(hash: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = hash ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let wide = u128::from(hash ^ u64::from_le_bytes(word)) * u128::from(FACTOR);
        hash = (wide as u64) ^ (wide >> 64) as u64;
    }
    hash
}
