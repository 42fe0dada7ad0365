//! An entry of a list of rules: a rule, or the names of groups whose rules stand there.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::{HINT, LIKE};
use super::values::Many;
use crate::policy::{Action, Matcher, Methods, Pattern, Place, guess};

/// One entry.
#[derive(Debug)]
pub(super) enum Entry {
    /// A rule.
    Rule(RuleEntry),
    /// `use:`, with the groups that it names.
    Use(Vec<String>),
}

/// One rule.
#[derive(Debug)]
pub(super) struct RuleEntry {
    pub(super) action: Action,
    pub(super) methods: Methods,
    /// `methods:` stands there with nothing after it.
    pub(super) empty_methods: bool,
    pub(super) matcher: Matcher,
    pub(super) name: Option<String>,
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
    uses: Option<Many>,
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
        let matcher = match (self.pattern, self.host, self.path) {
            (Some(pattern), None, None) => Matcher::Pattern(pattern.0),
            (Some(_), _, _) => {
                return Err(E::custom(
                    "a rule has either `pattern:` or `host:` and `path:`, not both",
                ));
            }
            (None, Some(host), path) => Matcher::Place(Place::new(&host, path.as_deref()).map_err(E::custom)?),
            (None, None, Some(_)) => return Err(E::custom("a rule with `path:` needs a `host:`")),
            (None, None, None) => {
                return Err(E::custom(format!(
                    "a rule needs a `pattern:` or a `host:`{HINT}to match every request write `pattern: '.*'`"
                )));
            }
        };
        let (methods, empty_methods) = match self.methods {
            MethodList::Absent => (Methods::EVERY, false),
            MethodList::Empty => (Methods::EVERY, true),
            MethodList::Some(methods) => (methods, false),
        };
        Ok(Entry::Rule(RuleEntry {
            action,
            methods,
            empty_methods,
            matcher,
            name: self.name,
        }))
    }

    fn only_uses<E: Error>(self) -> Result<Vec<String>, E> {
        let RawEntry {
            uses: Some(Many(names)),
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
    // By way of a visitor, so that the library gives an error of `check` the place of this rule.
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
                Err(E::custom(format!("`{text}` is no rule of a policy file{hint}")))
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
                    E::custom(format!("`{text}` is no action: it is `allow` or `deny`{hint}"))
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
                Pattern::new(text).map(PatternText).map_err(|error| {
                    let hint = error.hint(text).map(|hint| format!("{HINT}{hint}")).unwrap_or_default();
                    E::custom(format!("{error}{hint}"))
                })
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
                        "`{text}` is no method{HINT}they are get, post, put, delete, head, options, connect, trace, patch"
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
