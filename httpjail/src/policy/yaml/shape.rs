//! The shape of a policy file, as serde reads it. Values are checked while they are read, so that an error knows its place.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::words::{Backend, DnsMode, Level, LogFormat, word};
use crate::policy::matcher::{Matcher, Place};
use crate::policy::pattern::Pattern;
use crate::policy::rule::{Action, Methods};

/// Between an error and its hint, where both go through serde.
pub(super) const HINT: &str = "\nhint: ";

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "keys such as `rules:`")]
pub(super) struct Shape {
    pub(super) rules: Option<Vec<Entry>>,
    pub(super) logging: Option<Logging>,
    pub(super) dry_run: Option<bool>,
    pub(super) log_only: Option<bool>,
    pub(super) no_tls_intercept: Option<bool>,
    pub(super) weak: Option<bool>,
    pub(super) interactive: Option<bool>,
    pub(super) approve_with: Option<String>,
    pub(super) approve_timeout: Option<Seconds>,
    pub(super) ephemeral_ca: Option<bool>,
    #[serde(default, deserialize_with = "word")]
    pub(super) dns: Option<DnsMode>,
    #[serde(default, deserialize_with = "word")]
    pub(super) backend: Option<Backend>,
    pub(super) user: Option<String>,
    pub(super) timeout: Option<Seconds>,
    pub(super) log: Option<String>,
    #[serde(default, deserialize_with = "word")]
    pub(super) log_format: Option<LogFormat>,
    #[serde(default)]
    pub(super) publish: Many,
    #[serde(default)]
    pub(super) allow_socket: Many,
    #[serde(default)]
    pub(super) upstream_ca: Many,
}

/// `logging:` of a policy file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys such as `level:`")]
pub struct Logging {
    /// How much httpjail says of itself.
    #[serde(default, deserialize_with = "word")]
    pub level: Option<Level>,
    /// Where the request log goes.
    pub file: Option<String>,
    /// Its form.
    #[serde(default, deserialize_with = "word")]
    pub format: Option<LogFormat>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) action: Action,
    pub(super) methods: Methods,
    /// `methods:` stands there with nothing after it.
    pub(super) empty_methods: bool,
    pub(super) matcher: Matcher,
    pub(super) name: Option<String>,
}

/// A string, a list of strings, or nothing.
#[derive(Debug, Default)]
pub(super) struct Many(pub(super) Vec<String>);

/// A number of seconds.
#[derive(Debug)]
pub(super) struct Seconds(pub(super) Duration);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    action: ActionWord,
    pattern: Option<PatternText>,
    host: Option<String>,
    path: Option<String>,
    #[serde(default)]
    methods: MethodList,
    name: Option<String>,
}

struct ActionWord(Action);
struct PatternText(Pattern);

#[derive(Default)]
enum MethodList {
    #[default]
    Absent,
    Empty,
    Some(Methods),
}

/// Reads a file; an empty one is a policy without rules.
pub(super) fn read(text: &str) -> Result<Shape, serde_yaml::Error> {
    serde_yaml::from_str::<Option<Shape>>(text).map(Option::unwrap_or_default)
}

/// Reads a positive number of seconds, decimals allowed.
///
/// # Errors
/// A message for zero, for what is no number, and for what no clock can count.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no positive number of seconds");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong());
    }
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` seconds are too many"))?;
    if duration.is_zero() {
        return Err(wrong());
    }
    // A deadline must fit into the clock: some 30 years are plenty.
    if duration > Duration::from_secs(1_000_000_000) {
        return Err(format!("`{text}` seconds are too many"));
    }
    Ok(duration)
}

impl RawEntry {
    fn check<E: Error>(self) -> Result<Entry, E> {
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
        Ok(Entry {
            action: self.action.0,
            methods,
            empty_methods,
            matcher,
            name: self.name,
        })
    }
}

impl<'de> Deserialize<'de> for Entry {
    // By way of a visitor, so that the library gives an error of `check` the place of this rule.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule: `action:` and `pattern:`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                RawEntry::deserialize(MapAccessDeserializer::new(map))?.check()
            }
        }
        deserializer.deserialize_map(EntryVisitor)
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
                    let hint = error.hint().map(|hint| format!("{HINT}{hint}")).unwrap_or_default();
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

impl<'de> Deserialize<'de> for Many {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ManyVisitor;
        impl<'de> Visitor<'de> for ManyVisitor {
            type Value = Many;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_unit<E: Error>(self) -> Result<Many, E> {
                Ok(Many::default())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Many, E> {
                Ok(Many(vec![number.to_string()]))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Many, E> {
                Ok(Many(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many, A::Error> {
                let mut all = Many::default();
                while let Some(item) = list.next_element::<String>()? {
                    all.0.push(item);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(ManyVisitor)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a positive number of seconds")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Seconds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Seconds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
                parse_seconds(text).map(Seconds).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}
