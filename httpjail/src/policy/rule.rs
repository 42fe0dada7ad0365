//! One rule: `action[-method]: pattern`, and what it says of a request.
//!
//! A rule keeps the text that its author typed, because that is the name by which denials and warnings speak of it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::Method;

use super::Target;
use super::matcher::Matcher;
use super::meant;
use super::pattern::{Pattern, PatternError};
use super::reach::{Pin, Reach};
use crate::net::Host;

/// What a rule does with the requests that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Forward them.
    Allow,
    /// Refuse them.
    Deny,
}

/// The methods that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Methods(u16);

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
    reach: OnceLock<Reach>,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no `:`.
    #[error("a rule reads `action[-method]: pattern`, and this one has no `:`")]
    NoColon,
    /// What stands before the `:` begins with no action.
    #[error("`{0}` is no action: a rule begins with `allow` or `deny`")]
    Action(String),
    /// What stands after the action is no method.
    #[error("`{0}` is no method: it is one of get, post, put, delete, head, options, connect, trace, patch")]
    Method(String),
    /// The pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// The methods that a rule may name.
pub(super) const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
    Method::PATCH,
];

impl Rule {
    /// Reads a rule as `-r` takes it.
    ///
    /// # Errors
    /// [`RuleError`] if the text is no rule.
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

    /// A rule from its parts; its text is made from them.
    pub fn new(action: Action, methods: Methods, matcher: Matcher, source: Source) -> Rule {
        let text = format!("{action}{methods}: {matcher}");
        Rule {
            action,
            methods,
            matcher,
            source,
            text,
            name: None,
            reach: OnceLock::new(),
        }
    }

    /// Gives the rule the name that its author chose.
    pub fn named(self, name: Option<String>) -> Rule {
        Rule { name, ..self }
    }

    /// Whether the rule is about this request.
    pub fn matches(&self, target: &Target) -> bool {
        self.matches_metered(target, &mut 0)
    }

    /// The same, and adds to `grown` the bytes that were taken for it and are kept.
    pub(super) fn matches_metered(&self, target: &Target, grown: &mut usize) -> bool {
        // What cannot be said denies: an allow rule does not match then, and a deny rule does.
        let unknown = self.action == Action::Deny;
        self.methods.contains(target.method()) && self.matcher.matches_metered(target, grown).unwrap_or(unknown)
    }

    /// Gives back the memory that can be had again.
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

    /// The hosts whose URLs it can match. Found out when first asked, then kept.
    pub fn pin(&self) -> &Pin {
        &self.reach().pin
    }

    /// Whether the rule names this very host: it can match URLs of a few hosts only, spelled out, and this is one.
    pub fn is_pinned_to(&self, host: &Host) -> bool {
        matches!(self.pin(), Pin::Hosts(hosts) if hosts.contains(host))
    }

    /// Whether it allows something on this host's loopback by name.
    pub(super) fn names_loopback(&self) -> bool {
        let loopback = |host: &Host| match host {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
        };
        // Finding out what a pattern can reach is dear, most reach nothing of the kind, and there may be many rules.
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

    pub(super) fn reach(&self) -> &Reach {
        self.reach.get_or_init(|| self.matcher.reach())
    }
}

/// As typed.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl RuleError {
    /// What to write instead, where that can be told. `text` is what was typed.
    pub fn hint(&self, text: &str) -> Option<String> {
        match self {
            RuleError::NoColon => Some(write(&meant::rule(text))),
            RuleError::Action(head) => {
                let (host, near) = (text.trim().strip_prefix("host:"), Action::nearest(head));
                // `-r https://host/` splits at the scheme's colon, `-r host:443` at the port's.
                match (meant::pattern(host.unwrap_or(text), Action::Allow), near) {
                    (Some(pattern), _) => Some(write(&format!("allow: {pattern}"))),
                    _ if matches!(head.as_str(), "http" | "https" | "^http" | "^https" | "^https?") => {
                        Some(write(&format!("allow: {}", text.trim())))
                    }
                    (None, near) => near.map(|action| format!("did you mean `{action}`?")),
                }
            }
            RuleError::Method(names) if names.contains([',', '-', '|', ' ']) => Some(
                "write one rule for each method; a rule in a YAML file takes a list: `methods: [get, post]`".into(),
            ),
            RuleError::Method(name) => Some(match Methods::nearest(name) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "a rule without a method is about every method".into(),
            }),
            RuleError::Pattern(error) => {
                let (head, pattern) = text.split_once(':').unwrap_or(("allow", text));
                let action = meant::action_of(head.trim()).unwrap_or(Action::Allow);
                match (error, meant::pattern(pattern, action)) {
                    (PatternError::Syntax(_), Some(pattern)) => Some(write(&format!("{}: {pattern}", head.trim()))),
                    _ => error.hint(pattern),
                }
            }
        }
    }
}

fn write(rule: &str) -> String {
    format!("write \"{rule}\"")
}

impl Action {
    /// The action that a word was probably meant to be, with or without a method behind it.
    fn nearest(head: &str) -> Option<Action> {
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

impl Methods {
    /// Every method, also those that no rule can name.
    pub const EVERY: Methods = Methods(0);

    /// Reads one method's name, in any case.
    pub fn parse(name: &str) -> Option<Methods> {
        let place = METHODS
            .iter()
            .position(|known| known.as_str().eq_ignore_ascii_case(name))?;
        Some(Methods(1 << place))
    }

    /// The method whose name is most like this one, if one is.
    pub(super) fn nearest(name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        let known = METHODS.iter().map(|method| method.as_str().to_ascii_lowercase());
        let far = |known: &String| strsim::damerau_levenshtein(known, &name);
        known
            .min_by_key(far)
            .filter(|known| far(known) <= 2 && far(known) < known.len() - 1)
    }

    /// These and those. Every method and some more is every method.
    pub fn and(self, other: Methods) -> Methods {
        if self == Methods::EVERY || other == Methods::EVERY {
            Methods::EVERY
        } else {
            Methods(self.0 | other.0)
        }
    }

    /// Whether all of `others` are among them.
    pub(super) fn cover(self, others: Methods) -> bool {
        self == Methods::EVERY || (others != Methods::EVERY && others.0 & !self.0 == 0)
    }

    /// Whether `method` is among them.
    pub fn contains(self, method: &Method) -> bool {
        self == Methods::EVERY
            || METHODS
                .iter()
                .position(|known| known == method)
                .is_some_and(|place| self.0 & (1 << place) != 0)
    }
}

/// As in a rule, after the action: nothing, `-get`, or `-get-post` for the several that a YAML rule can have.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = METHODS
            .iter()
            .enumerate()
            .filter(|(place, _)| self.0 & (1 << place) != 0);
        named
            .into_iter()
            .try_for_each(|(_, method)| write!(f, "-{}", method.as_str().to_ascii_lowercase()))
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
