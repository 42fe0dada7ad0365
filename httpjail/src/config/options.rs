//! Options whose value is one of a few words, spelled the same in a file and on the command line.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::audit::SummaryForm;

/// A type whose values are words.
pub(crate) trait Word: Copy + Eq + 'static {
    /// Each value and its word.
    const WORDS: &'static [(&'static str, Self)];

    /// The value of a word.
    fn parse(text: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
    }

    /// The word of a value.
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }
}

/// The level of httpjail's own messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of the request log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line to read.
    Text,
    /// An object a line.
    Json,
}

/// How traffic is steered to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The strongest that works here.
    Auto,
    /// cgroup programs.
    Ebpf,
    /// nftables in the jail's namespace.
    Netns,
    /// Environment variables only.
    Weak,
}

/// What the jail's resolver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsMode {
    /// Made-up addresses, one for each name; no query leaves the host.
    Synthetic,
    /// The answers of the host's name servers.
    Relay,
    /// The answers of the server that the program addresses.
    Open,
    /// Nothing.
    Off,
}

/// Whose network leads to servers (`attach`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamNetwork {
    /// That of the processes, where it leads out, else the host's.
    Auto,
    /// That of the processes.
    Container,
    /// The host's.
    Host,
}

impl Word for UpstreamNetwork {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", UpstreamNetwork::Auto),
        ("container", UpstreamNetwork::Container),
        ("host", UpstreamNetwork::Host),
    ];
}

/// What clients of `serve` must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// The token, as the password.
    Token,
    /// Nothing.
    None,
}

impl Word for Auth {
    const WORDS: &'static [(&'static str, Self)] = &[("token", Auth::Token), ("none", Auth::None)];
}

impl Word for Level {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Level::Off),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

impl Word for SummaryForm {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("table", SummaryForm::Table),
        ("json", SummaryForm::Json),
        ("github", SummaryForm::Github),
    ];
}

impl Word for Backend {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Backend::Auto),
        ("ebpf", Backend::Ebpf),
        ("netns", Backend::Netns),
        ("weak", Backend::Weak),
    ];
}

impl Word for DnsMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("synthetic", DnsMode::Synthetic),
        ("relay", DnsMode::Relay),
        ("open", DnsMode::Open),
        ("off", DnsMode::Off),
    ];
}

/// Reads a word, or nothing after the key.
pub(crate) fn word<'de, D: Deserializer<'de>, W: Word>(deserializer: D) -> Result<Option<W>, D::Error> {
    deserializer.deserialize_any(WordVisitor(PhantomData))
}

struct WordVisitor<W>(PhantomData<W>);

impl<W: Word> Visitor<'_> for WordVisitor<W> {
    type Value = Option<W>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        for (place, (word, _)) in W::WORDS.iter().enumerate() {
            write!(f, "{}{word}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        W::parse(text)
            .map(Some)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
