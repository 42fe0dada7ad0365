//! Makes a rule of the fields that a policy file has for it.

use super::matcher::{Matcher, Place, PlaceError};
use super::methods::Methods;
use super::pattern::Pattern;
use super::rule::{Action, Rule, Source};

/// What a rule says that it is about, each where it is given.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// `pattern:`, which excludes the others.
    pub pattern: Option<Pattern>,
    /// `host:`.
    pub host: Option<String>,
    /// `path:`, which needs a host.
    pub path: Option<String>,
}

/// A rule of a file, which stands wherever its group is used.
#[derive(Debug)]
pub(crate) struct RuleEntry {
    action: Action,
    methods: Methods,
    matcher: Matcher,
    name: Option<String>,
}

/// Why fields are no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// A pattern, and a host or a path.
    #[error("a rule has either `pattern:` or `host:` and `path:`, not both")]
    Both,
    /// A path without a host.
    #[error("a rule with `path:` needs a `host:`")]
    PathAlone,
    /// Nothing that it is about.
    #[error("a rule needs a `pattern:` or a `host:`")]
    Nothing,
    /// The host or the path is none.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl RuleEntry {
    /// A rule of these fields.
    ///
    /// # Errors
    /// [`EntryError`] if they do not say what it is about, or say it twice.
    pub(crate) fn new(
        action: Action,
        methods: Methods,
        fields: Fields,
        name: Option<String>,
    ) -> Result<RuleEntry, EntryError> {
        let matcher = match (fields.pattern, fields.host, fields.path) {
            (Some(pattern), None, None) => Matcher::Pattern(pattern),
            (Some(_), ..) => return Err(EntryError::Both),
            (None, Some(host), path) => Matcher::Place(Place::new(&host, path.as_deref())?),
            (None, None, Some(_)) => return Err(EntryError::PathAlone),
            (None, None, None) => return Err(EntryError::Nothing),
        };
        Ok(RuleEntry {
            action,
            methods,
            matcher,
            name,
        })
    }

    /// The rule, as it stands at `source`.
    pub(crate) fn rule(&self, source: Source) -> Rule {
        Rule::new(self.action, self.methods, self.matcher.clone(), source).named(self.name.clone())
    }
}

impl EntryError {
    /// What to write instead, where that can be told.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            EntryError::Nothing => Some("to match every request write `pattern: '.*'`".into()),
            _ => None,
        }
    }
}
