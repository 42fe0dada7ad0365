//! Options whose value is one of a few words.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::config::options::Word;

pub(super) fn word<W: Word + Send + Sync>() -> impl TypedValueParser<Value = W> {
    PossibleValuesParser::new(W::WORDS.iter().map(|(word, _)| *word))
        .try_map(|text| W::parse(&text).ok_or("not one of the known words"))
}
