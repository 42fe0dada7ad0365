//! One rule: `action[-method]: pattern`.
//!
//! A rule keeps the text that its author typed, because denials and warnings quote it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::host_analysis::{HostAnalysis, Pin};
use super::matcher::Matcher;
use super::methods::Methods;
use super::pattern::{Pattern, PatternError};
use super::target::Target;
use crate::net::Host;

/// What a rule does with the requests that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Forward them.
    Allow,
    /// Refuse them.
    Deny,
}

/// Where a rule was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The nth `-r` on the command line, from 1.
    Option(usize),
    /// A rule of a file.
    File {
        /// The file, as it was named.
        file: Arc<str>,
        /// The nth rule of the file, from 1.
        number: usize,
        /// The line where the rule begins, from 1; unknown where several rules share a line.
        line: Option<usize>,
    },
}

/// A rule, ready to judge.
#[derive(Debug)]
pub struct Rule {
    action: Action,
    methods: Methods,
    matcher: Matcher,
    source: Source,
    text: String,
    name: Option<String>,
    host_analysis: OnceLock<HostAnalysis>,
}

/// Why a text cannot be parsed as a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no `:`.
    #[error("missing `:`: expected `action[-method]: pattern`")]
    NoColon,
    /// What stands before the `:` begins with no action.
    #[error("invalid action `{0}`: expected `allow` or `deny`")]
    Action(String),
    /// What stands after the action is no method.
    #[error("invalid method `{0}`: expected one of get, post, put, delete, head, options, connect, trace, patch")]
    Method(String),
    /// The pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Rule {
    /// Reads a rule as `-r` takes it: `action[-method]: pattern`.
    ///
    /// ```
    /// use httpjail::policy::{Action, Rule, RuleError, Source};
    ///
    /// let rule = Rule::parse(r"allow-get: ^https://api\.example\.com/", Source::Option(1))?;
    /// assert_eq!(rule.action(), Action::Allow);
    ///
    /// let error = Rule::parse("api.example.com", Source::Option(1)).unwrap_err();
    /// assert_eq!(
    ///     error.hint("api.example.com").as_deref(),
    ///     Some(r#"write "allow: ^https://api\.example\.com/""#)
    /// );
    /// # Ok::<(), RuleError>(())
    /// ```
    ///
    /// # Errors
    /// Returns a [`RuleError`] if the text is not a rule.
    pub fn parse(text: &str, source: Source) -> Result<Rule, RuleError> {
        let text = text.trim();
        let (head, pattern) = text.split_once(':').ok_or(RuleError::NoColon)?;
        let (action, method) = match head.split_once('-') {
            Some((action, method)) => (action.trim(), Some(method.trim())),
            None => (head.trim(), None),
        };
        let action = Action::parse(action).ok_or_else(|| RuleError::Action(head.trim().to_owned()))?;
        let methods = match method {
            None => Methods::EVERY,
            Some(name) => Methods::parse(name).ok_or_else(|| RuleError::Method(name.to_owned()))?,
        };
        let matcher = Matcher::Pattern(Pattern::new(pattern)?);
        Ok(Rule {
            text: text.to_owned(),
            ..Rule::new(action, methods, matcher, source)
        })
    }

    /// Makes a rule of its parts. Its text is made of them too.
    pub fn new(action: Action, methods: Methods, matcher: Matcher, source: Source) -> Rule {
        let text = format!("{action}{methods}: {matcher}");
        Rule {
            action,
            methods,
            matcher,
            source,
            text,
            name: None,
            host_analysis: OnceLock::new(),
        }
    }

    /// Gives the rule the name that its author chose.
    pub fn named(self, name: Option<String>) -> Rule {
        Rule { name, ..self }
    }

    /// Returns true if the rule matches this request.
    pub fn matches(&self, target: &Target) -> bool {
        self.matches_metered(target, &mut 0)
    }

    /// The same. Adds the bytes that this call allocated and that are kept to `grown`.
    pub(super) fn matches_metered(&self, target: &Target, grown: &mut usize) -> bool {
        // Where the automaton cannot answer the request is denied: an allow rule does not match, and a deny rule does.
        let unknown = self.action == Action::Deny;
        self.methods.contains(target.method()) && self.matcher.matches_metered(target, grown).unwrap_or(unknown)
    }

    /// Drops the automaton, which can be built again.
    pub(super) fn forget(&self) {
        if let Matcher::Pattern(pattern) = &self.matcher {
            pattern.forget();
        }
    }

    /// What it does with the requests that it matches.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The methods that it is about.
    pub fn methods(&self) -> Methods {
        self.methods
    }

    /// What it looks for.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// Where it was written.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The name that its author gave it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the hosts whose URLs it can match. The first call computes them.
    pub fn pin(&self) -> &Pin {
        &self.host_analysis().pin
    }

    /// Returns true if the rule can match URLs of a few hosts only, and this is one of them.
    pub fn is_pinned_to(&self, host: &Host) -> bool {
        matches!(self.pin(), Pin::Hosts(hosts) if hosts.contains(host))
    }

    /// Returns true if it allows something on the loopback of this host by name.
    pub(super) fn names_loopback(&self) -> bool {
        let loopback = |host: &Host| match host {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
        };
        // The analysis of a pattern is expensive, few patterns match such hosts, and there may be many rules.
        let perhaps = || match &self.matcher {
            Matcher::Place(_) => true,
            Matcher::Pattern(pattern) => match pattern.spelled_hosts() {
                Some(hosts) => {
                    let is_loopback = |host: &str| Host::parse(host).is_ok_and(|host| loopback(&host));
                    hosts.iter().any(|host| host.starts_with('[') || is_loopback(host))
                }
                None => {
                    let text = pattern.as_str().to_ascii_lowercase();
                    ["localhost", "127", "::"].iter().any(|word| text.contains(word))
                }
            },
        };
        let pinned = || matches!(self.pin(), Pin::Hosts(hosts) if hosts.iter().any(loopback));
        self.action == Action::Allow && perhaps() && pinned()
    }

    pub(super) fn host_analysis(&self) -> &HostAnalysis {
        self.host_analysis.get_or_init(|| self.matcher.host_analysis())
    }
}

/// As typed.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Action {
    /// The action that a word was probably meant to be, with or without a method behind it.
    pub(super) fn nearest(head: &str) -> Option<Action> {
        let word = head.split('-').next().unwrap_or(head).to_ascii_lowercase();
        let far = |action: &Action| strsim::damerau_levenshtein(&action.to_string(), &word);
        [Action::Allow, Action::Deny]
            .into_iter()
            .min_by_key(far)
            .filter(|action| far(action) <= 2)
    }

    /// Reads `allow` or `deny`, in any case.
    pub fn parse(text: &str) -> Option<Action> {
        match text.to_ascii_lowercase().as_str() {
            "allow" => Some(Action::Allow),
            "deny" => Some(Action::Deny),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Option(number) => write!(f, "-r {number}"),
            Source::File {
                file, line: Some(line), ..
            } => write!(f, "{file}:{line}"),
            Source::File {
                file,
                number,
                line: None,
            } => write!(f, "{file}, rule {number}"),
        }
    }
}

#[cfg(test)]
mod tests;
