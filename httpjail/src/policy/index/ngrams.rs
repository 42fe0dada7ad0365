//! Files rules under four bytes that must occur somewhere in the URL, regardless of case.
//!
//! Each rule picks the n-gram of its text that the fewest earlier rules picked, and none that most URLs have. So a URL with
//! this n-gram probably has the text.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use super::bitmap::Bitmap;
use super::table::Hashed;

/// The hashes of the ngrams of a text.
#[derive(Debug)]
pub(super) struct Text(Vec<u64>);

/// Who picked which ngram, while rules are filed.
pub(super) struct IndexBuilder {
    common: HashSet<u64>,
    picked: HashMap<u64, Vec<u32>, BuildHasherDefault<Hashed>>,
}

/// Texts whose n-grams occur in most URLs.
const COMMON: [&str; 8] = [
    "https://www.",
    "http://www.",
    "https://api.",
    ".com/",
    ".org/",
    ".net/",
    ".html",
    "index.",
];
/// So many ngrams of a text are looked at.
const LOOKED_AT: usize = 24;

impl Text {
    pub(super) fn new(text: &str) -> Text {
        // The end of a text tells more than its beginning.
        Text(hashes(text).rev().take(LOOKED_AT).collect())
    }
}

impl IndexBuilder {
    pub(super) fn new() -> IndexBuilder {
        IndexBuilder {
            common: COMMON.into_iter().flat_map(hashes).collect(),
            picked: HashMap::default(),
        }
    }

    /// Files a rule under one n-gram of each text. Returns false if there is no text, or if a text has only common n-grams.
    pub(super) fn file(&mut self, id: u32, texts: &[Text]) -> bool {
        let crowd = |hash: &&u64| self.picked.get(*hash).map_or(0, Vec::len);
        let pick = |text: &Text| {
            let telling = text.0.iter().filter(|hash| !self.common.contains(hash));
            telling.min_by_key(crowd).copied()
        };
        let Some(picks) = texts.iter().map(pick).collect::<Option<Vec<u64>>>() else {
            return false;
        };
        let filed = !picks.is_empty();
        for pick in picks {
            self.picked.entry(pick).or_default().push(id);
        }
        filed
    }

    /// Each hash with a rule that is filed under it, and the set of the hashes, if there are any.
    pub(super) fn finish(self, pairs: &mut Vec<(u64, u32)>) -> Option<Bitmap> {
        let ngrams = (!self.picked.is_empty()).then(|| Bitmap::new(self.picked.len(), self.picked.keys().copied()));
        for (hash, ids) in self.picked {
            pairs.extend(ids.into_iter().map(|id| (hash, id)));
        }
        ngrams
    }
}

/// The hash of each ngram.
pub(super) fn hashes(text: &str) -> impl DoubleEndedIterator<Item = u64> {
    text.as_bytes().windows(4).map(|window| {
        let ngram = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
        // The bit in which letters differ by case. Other bytes lose it as well, and some ngrams become one.
        (u64::from(ngram | 0x2020_2020) ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
