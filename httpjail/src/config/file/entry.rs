//! An entry of a list of rules: a rule, or `use:` with the names of groups.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::{HINT, LIKE, with_hint};
use super::values::OneOrMany;
use crate::policy::{Action, Fields, Methods, Pattern, RuleEntry, guess};

#[derive(Debug)]
pub(super) enum Entry {
    Rule {
        rule: RuleEntry,
        /// True for `methods:` without a value.
        empty_methods: bool,
    },
    /// `use:`, with the groups that it names.
    Use(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    action: Option<ActionWord>,
    pattern: Option<PatternText>,
    host: Option<String>,
    path: Option<String>,
    #[serde(default)]
    methods: MethodList,
    name: Option<String>,
    #[serde(rename = "use")]
    uses: Option<OneOrMany>,
}

pub(super) struct ActionWord(pub(super) Action);
struct PatternText(Pattern);

#[derive(Default)]
enum MethodList {
    #[default]
    Absent,
    Empty,
    Some(Methods),
}

impl RawEntry {
    fn check<E: Error>(self) -> Result<Entry, E> {
        if self.uses.is_some() {
            return self.only_uses().map(Entry::Use);
        }
        let Some(ActionWord(action)) = self.action else {
            return Err(E::missing_field("action"));
        };
        let (methods, empty_methods) = match self.methods {
            MethodList::Absent => (Methods::EVERY, false),
            MethodList::Empty => (Methods::EVERY, true),
            MethodList::Some(methods) => (methods, false),
        };
        let fields = Fields {
            pattern: self.pattern.map(|pattern| pattern.0),
            host: self.host,
            path: self.path,
        };
        match RuleEntry::new(action, methods, fields, self.name) {
            Ok(rule) => Ok(Entry::Rule { rule, empty_methods }),
            Err(error) => Err(with_hint(&error, error.hint())),
        }
    }

    fn only_uses<E: Error>(self) -> Result<Vec<String>, E> {
        let RawEntry {
            uses: Some(OneOrMany(names)),
            action: None,
            pattern: None,
            host: None,
            path: None,
            methods: MethodList::Absent,
            name: None,
        } = self
        else {
            return Err(E::custom("an entry is a rule, or it has `use:` and nothing else"));
        };
        if names.is_empty() {
            return Err(E::custom("`use:` names no group"));
        }
        Ok(names)
    }
}

impl<'de> Deserialize<'de> for Entry {
    // A visitor, so that the library gives an error of `check` the position of this rule.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule (`action:` and `pattern:`), or `use:`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                RawEntry::deserialize(MapAccessDeserializer::new(map))?.check()
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                let hint = match guess::entry(text) {
                    Some(entry) => format!("{HINT}write {entry}"),
                    None => format!("{HINT}{LIKE}"),
                };
                Err(E::custom(format!("invalid rule `{text}`{hint}")))
            }
        }
        deserializer.deserialize_any(EntryVisitor)
    }
}

impl<'de> Deserialize<'de> for ActionWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ActionVisitor;
        impl Visitor<'_> for ActionVisitor {
            type Value = ActionWord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`allow` or `deny`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ActionWord, E> {
                Action::parse(text).map(ActionWord).ok_or_else(|| {
                    let hint = match text.split_once('-') {
                        Some((action, method)) if Action::parse(action).is_some() => {
                            format!("{HINT}write `action: {action}` and `methods: [{method}]`")
                        }
                        _ => String::new(),
                    };
                    E::custom(format!("invalid action `{text}`: expected `allow` or `deny`{hint}"))
                })
            }
        }
        deserializer.deserialize_str(ActionVisitor)
    }
}

impl<'de> Deserialize<'de> for PatternText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PatternVisitor;
        impl Visitor<'_> for PatternVisitor {
            type Value = PatternText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a regular expression")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PatternText, E> {
                Pattern::new(text)
                    .map(PatternText)
                    .map_err(|error| with_hint(&error, error.hint(text)))
            }
        }
        deserializer.deserialize_str(PatternVisitor)
    }
}

impl<'de> Deserialize<'de> for MethodList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MethodsVisitor;
        impl<'de> Visitor<'de> for MethodsVisitor {
            type Value = MethodList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of methods, such as `[get, head]`")
            }

            fn visit_unit<E: Error>(self) -> Result<MethodList, E> {
                Ok(MethodList::Empty)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<MethodList, E> {
                Methods::parse(text).map(MethodList::Some).ok_or_else(|| {
                    E::custom(format!(
                        "invalid method `{text}`{HINT}expected one of get, post, put, delete, head, options, connect, trace, patch"
                    ))
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<MethodList, A::Error> {
                let mut all = None;
                while let Some(item) = list.next_element::<MethodList>()? {
                    let MethodList::Some(methods) = item else {
                        return Err(A::Error::custom("a method in the list is empty"));
                    };
                    all = Some(all.map_or(methods, |all: Methods| all.and(methods)));
                }
                all.map(MethodList::Some).ok_or_else(|| {
                    A::Error::custom(format!(
                        "the list of methods is empty{HINT}without `methods:` a rule is about every method"
                    ))
                })
            }
        }
        deserializer.deserialize_any(MethodsVisitor)
    }
}
