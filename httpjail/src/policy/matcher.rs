//! What a rule matches: a pattern, or the `host:` and `path:` of a YAML rule.
//!
//! `host:` is a name, an address or `*.name` (any name below it, not itself), with the scheme's default port unless it
//! says `:PORT`; both schemes match. `path:` is the whole path or, ending in `*`, its beginning; the query is free.

use std::borrow::Cow;
use std::fmt;

use super::host_analysis::{self, HostAnalysis, Https, Pin};
use super::path;
use super::pattern::{Pattern, UrlTest};
use super::target::{Target, split_authority};
use super::url_part::Part;
use crate::net::{Host, Scheme};

/// What a rule looks for.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// A regular expression, searched in the URL.
    Pattern(Pattern),
    /// A host and perhaps a path.
    Place(Place),
}

/// The place that `host:` and `path:` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: PlaceHost,
    port: Option<u16>,
    path: Option<PlacePath>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PlaceHost {
    Exactly(Host),
    /// Any name that ends in this, which begins with a dot.
    Below(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PlacePath {
    Exactly(String),
    Begins(String),
}

/// Why `host:` or `path:` cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The host.
    #[error("invalid host `{0}`: {1}")]
    Host(String, String),
    /// The path.
    #[error("invalid path `{0}`: {1}")]
    Path(String, String),
}

impl Matcher {
    /// Returns whether the URL of the request matches, as [`Pattern::matches`] does. It ignores the method.
    pub fn matches(&self, target: &Target) -> Option<bool> {
        self.matches_metered(target, &mut 0)
    }

    pub(super) fn matches_metered(&self, target: &Target, grown: &mut usize) -> Option<bool> {
        match self {
            Matcher::Pattern(pattern) => pattern.matches_metered(target.url(), grown),
            Matcher::Place(place) => Some(place.differs(target).is_none()),
        }
    }

    /// The first part of the URL in which a request that does not match differs from those that would.
    pub(super) fn differs(&self, target: &Target) -> Part {
        match self {
            Matcher::Pattern(pattern) => Part::differing(pattern.starts(), target),
            Matcher::Place(place) => place.differs(target).unwrap_or(Part::Anywhere),
        }
    }

    /// Returns true if every request matches.
    pub(super) fn matches_everything(&self) -> bool {
        matches!(self, Matcher::Pattern(pattern) if matches!(pattern.test(), UrlTest::Every))
    }

    /// A pattern that means the same.
    pub(super) fn as_pattern(&self) -> Cow<'_, str> {
        match self {
            Matcher::Pattern(pattern) => pattern.as_str().into(),
            Matcher::Place(place) => place.as_pattern().into(),
        }
    }

    pub(super) fn host_analysis(&self) -> HostAnalysis {
        match self {
            Matcher::Pattern(pattern) => host_analysis::of_pattern(pattern),
            Matcher::Place(place) => HostAnalysis {
                pin: match &place.host {
                    PlaceHost::Exactly(host) => Pin::Hosts(vec![host.clone()]),
                    PlaceHost::Below(_) => Pin::Open,
                },
                stray: None,
                https: if place.covers_root() {
                    Https::Roots
                } else {
                    Https::Paths
                },
            },
        }
    }
}

impl Place {
    /// Reads `host:` and `path:` of a rule.
    ///
    /// # Errors
    /// [`PlaceError`] if one of them has no canonical form or, the path, is not written in it.
    pub fn new(host: &str, path: Option<&str>) -> Result<Place, PlaceError> {
        let wrong = |why: String| PlaceError::Host(host.to_owned(), why);
        let (named, below) = match host.trim().strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (host.trim(), false),
        };
        if named.contains('*') {
            return Err(wrong(
                "a `*` can only stand for the labels before a name, as in `*.example.com`".into(),
            ));
        }
        if named.contains('/') {
            return Err(wrong("write the name alone, and the path after `path:`".into()));
        }
        let (canonical, port) = split_authority(named).map_err(|error| wrong(error.to_string()))?;
        let host = match (canonical, below) {
            (host, false) => PlaceHost::Exactly(host),
            (Host::Name(name), true) => PlaceHost::Below(format!(".{name}")),
            (_, true) => return Err(wrong("there are no names below an address".into())),
        };
        Ok(Place {
            host,
            port,
            path: path.map(place_path).transpose()?,
        })
    }

    fn differs(&self, target: &Target) -> Option<Part> {
        let host = match &self.host {
            PlaceHost::Exactly(host) => target.host() == host,
            PlaceHost::Below(suffix) => target
                .host()
                .as_name()
                .is_some_and(|name| name.ends_with(suffix.as_str())),
        };
        if !host {
            return Some(Part::Host);
        }
        if target.port() != self.port.unwrap_or(target.scheme().default_port()) {
            return Some(Part::Port);
        }
        let path = match &self.path {
            None => true,
            Some(PlacePath::Exactly(path)) => target.path() == path,
            Some(PlacePath::Begins(prefix)) => target.path().starts_with(prefix.as_str()),
        };
        (!path).then_some(Part::Path)
    }

    fn as_pattern(&self) -> String {
        let host = match &self.host {
            PlaceHost::Exactly(host) => regex_syntax::escape(&host.to_string()),
            PlaceHost::Below(suffix) => format!("[^/:*]+{}", regex_syntax::escape(suffix)),
        };
        let [https, http] = [Scheme::Https, Scheme::Http].map(|scheme| {
            let port = self.port.filter(|port| *port != scheme.default_port());
            port.map_or(String::new(), |port| format!(":{port}"))
        });
        let path = match &self.path {
            None => "[/*]".into(),
            Some(PlacePath::Exactly(path)) => format!(r"{}(\?|$)", regex_syntax::escape(path)),
            Some(PlacePath::Begins(path)) => regex_syntax::escape(path),
        };
        format!("^(https://{host}{https}|http://{host}{http}){path}")
    }

    pub(super) fn parts(&self) -> (&PlaceHost, Option<u16>, Option<&PlacePath>) {
        (&self.host, self.port, self.path.as_ref())
    }

    fn covers_root(&self) -> bool {
        match &self.path {
            None => true,
            Some(PlacePath::Exactly(path) | PlacePath::Begins(path)) => path == "/",
        }
    }
}

/// A path must be written as it is judged; another spelling of it would be a rule that never matches.
fn place_path(text: &str) -> Result<PlacePath, PlaceError> {
    let wrong = |why: String| PlaceError::Path(text.to_owned(), why);
    let (bare, begins) = match text.strip_suffix('*') {
        Some(bare) => (bare, true),
        None => (text, false),
    };
    if bare.contains('*') {
        return Err(wrong("a `*` can only stand at its end".into()));
    }
    if bare.contains('?') {
        return Err(wrong(
            "the query is not part of it; use `pattern:` to look at the query".into(),
        ));
    }
    let mut canonical = String::new();
    path::canonicalize(bare, &mut canonical).map_err(|error| wrong(error.to_string()))?;
    if canonical != bare {
        return Err(wrong(format!("its canonical spelling is `{canonical}`")));
    }
    Ok(if begins {
        PlacePath::Begins(canonical)
    } else {
        PlacePath::Exactly(canonical)
    })
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Pattern(pattern) => pattern.fmt(f),
            Matcher::Place(place) => place.fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            PlaceHost::Exactly(host) => write!(f, "host {host}")?,
            PlaceHost::Below(suffix) => write!(f, "host *{suffix}")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match &self.path {
            None => Ok(()),
            Some(PlacePath::Exactly(path)) => write!(f, " path {path}"),
            Some(PlacePath::Begins(path)) => write!(f, " path {path}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[track_caller]
    fn check(host: &str, path: Option<&str>, inside: &[&str], outside: &[&str]) {
        let place = Matcher::Place(Place::new(host, path).expect("a place"));
        for (urls, wanted) in [(inside, true), (outside, false)] {
            for url in urls {
                let (scheme, rest) = url.split_once("://").expect("a URL");
                let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
                let at = rest.find('/').unwrap_or(rest.len());
                let target = Target::new(&Method::GET, scheme, &rest[..at], &rest[at..]).expect("a target");
                assert_eq!(place.matches(&target), Some(wanted), "{place} {url}");
            }
        }
    }

    #[test]
    fn places() {
        check(
            "API.example.com.",
            None,
            &[
                "https://api.example.com/",
                "http://api.example.com/x?y",
                "https://api.example.com:443/",
            ],
            &[
                "https://api.example.com:8443/",
                "https://x.api.example.com/",
                "https://example.com/",
                "https://api-example.com/",
            ],
        );
        check(
            "*.example.com",
            None,
            &["https://a.example.com/", "https://a.b.example.com/"],
            &[
                "https://example.com/",
                "https://aexample.com/",
                "https://a.example.com.evil.example/",
                "https://evil.example/a.example.com",
            ],
        );
        check(
            "localhost:3000",
            None,
            &["http://localhost:3000/"],
            &["http://localhost/", "http://localhost:3001/"],
        );
        check("[::1]:3000", None, &["http://[::1]:3000/"], &["http://[::1]/"]);
        check(
            "a.test",
            Some("/x"),
            &["https://a.test/x", "https://a.test/x?q", "https://a.test/y/../x"],
            &["https://a.test/xy", "https://a.test/x/"],
        );
        check(
            "a.test",
            Some("/x/*"),
            &["https://a.test/x/", "https://a.test/x/y"],
            &["https://a.test/x", "https://a.test/x/../y"],
        );
    }

    #[test]
    fn no_places() {
        for host in [
            "",
            "*",
            "*.",
            "a.*.b",
            "*a.b",
            "https://a.b",
            "a.b/c",
            "127.1",
            "*.127.0.0.1",
            "a b",
            "a:0",
            "u@a",
        ] {
            assert!(Place::new(host, None).is_err(), "{host}");
        }
        for path in ["", "x", "/a/../b", "/%7ea", "/a*b", "/a?b", "/a b", "/a%", "*"] {
            assert!(Place::new("a.test", Some(path)).is_err(), "{path}");
        }
        assert!(Place::new("a.test", Some("/*")).is_ok());
    }
}
