//! Matches one host, or all hosts below a name: `api.example.com`, `*.example.com`.

use super::Host;
use std::fmt;

/// One host, or all hosts below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    name: String,
    below: bool,
}

/// A text that is not a [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid host name `{0}`: expected a name such as `api.example.com`, or `*.example.com` for every host below it"
)]
pub struct HostPatternError(pub String);

impl HostPattern {
    /// Parses a name, or `*.` and a name.
    ///
    /// # Errors
    /// Returns a [`HostPatternError`] for anything else, such as an address.
    pub fn parse(text: &str) -> Result<HostPattern, HostPatternError> {
        let below = text.strip_prefix("*.");
        match Host::parse(below.unwrap_or(text)) {
            Ok(Host::Name(name)) => Ok(HostPattern {
                name,
                below: below.is_some(),
            }),
            _ => Err(HostPatternError(text.escape_debug().to_string())),
        }
    }

    /// Returns true if the pattern matches `host`.
    pub fn covers(&self, host: &Host) -> bool {
        host.as_name().is_some_and(|name| match self.below {
            false => name == self.name,
            true => name.strip_suffix(&self.name).is_some_and(|above| above.ends_with('.')),
        })
    }

    /// Returns the host, if the pattern matches only one.
    pub fn only(&self) -> Option<Host> {
        (!self.below).then(|| Host::Name(self.name.clone()))
    }
}

/// Writes the pattern as it is parsed.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_covers() {
        let check = |pattern: &str, inside: &[&str], outside: &[&str]| {
            let parsed = HostPattern::parse(pattern).unwrap();
            let covers = |host: &&str| parsed.covers(&Host::parse(host).unwrap());
            assert!(inside.iter().all(covers), "{pattern}");
            assert!(!outside.iter().any(covers), "{pattern}");
            assert_eq!(HostPattern::parse(&parsed.to_string()), Ok(parsed));
        };
        check(
            "a.test",
            &["a.test", "A.TEST."],
            &["b.a.test", "xa.test", "test", "192.0.2.1"],
        );
        check(
            "*.a.test",
            &["b.a.test", "c.b.a.test"],
            &["a.test", "xa.test", "a.test.b"],
        );
        check("B\u{fc}cher.test.", &["xn--bcher-kva.test"], &["bcher.test"]);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "*",
            "*.",
            "192.0.2.1",
            "[2001:db8::1]",
            "a.*.test",
            "**.a.test",
            "a test",
            "a.test:443",
            "https://a.test",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
