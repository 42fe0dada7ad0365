//! The methods that a rule is about.

use std::fmt;

use http::Method;

/// The methods that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Methods(u16);

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

impl Methods {
    /// Every method, also those that a rule cannot name.
    pub const EVERY: Methods = Methods(0);

    /// Reads one method's name, in any case.
    pub fn parse(name: &str) -> Option<Methods> {
        let place = METHODS
            .iter()
            .position(|known| known.as_str().eq_ignore_ascii_case(name))?;
        Some(Methods(1 << place))
    }

    /// Returns the method with the most similar name, if one is similar.
    pub(super) fn nearest(name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        let known = METHODS.iter().map(|method| method.as_str().to_ascii_lowercase());
        let far = |known: &String| strsim::damerau_levenshtein(known, &name);
        known
            .min_by_key(far)
            .filter(|known| far(known) <= 2 && far(known) < known.len() - 1)
    }

    /// Returns the union.
    pub fn and(self, other: Methods) -> Methods {
        if self == Methods::EVERY || other == Methods::EVERY {
            Methods::EVERY
        } else {
            Methods(self.0 | other.0)
        }
    }

    /// Returns true if all of `others` are among these.
    pub(super) fn cover(self, others: Methods) -> bool {
        self == Methods::EVERY || (others != Methods::EVERY && others.0 & !self.0 == 0)
    }

    /// Returns true if `method` is among these.
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
