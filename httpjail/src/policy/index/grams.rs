//! Rules filed under four bytes that must stand somewhere in the URL, upper and lower case alike.
//!
//! Each rule picks, of the grams that its text has, the one that the fewest rules before it picked, and none that most
//! URLs have if it can help it. A bitmap, small enough to stay near the processor, says of most grams that nobody picked them.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use super::Hashed;

/// The hashes of the grams of a text.
#[derive(Debug)]
pub(super) struct Text(Vec<u64>);

/// Which grams were picked.
#[derive(Debug)]
pub(super) struct Grams {
    /// A bit for each hash of a gram; empty if there are none.
    bitmap: Box<[u64]>,
    shift: u32,
}

/// Who picked which gram, while rules are filed.
pub(super) struct Filer {
    common: HashSet<u64>,
    picked: HashMap<u64, Vec<u32>, BuildHasherDefault<Hashed>>,
}

/// Texts whose grams stand in most URLs.
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
/// So many grams of a text are looked at.
const LOOKED_AT: usize = 24;
/// Bits of the bitmap for each gram, before rounding up.
const BITS: usize = 16;
/// The most bits, as a power of two: 128 KiB.
const BITS_MAX: u32 = 20;

impl Text {
    pub(super) fn new(text: &str) -> Text {
        // The end of a text tells more than its beginning.
        Text(hashes(text).rev().take(LOOKED_AT).collect())
    }
}

impl Filer {
    pub(super) fn new() -> Filer {
        Filer {
            common: COMMON.into_iter().flat_map(hashes).collect(),
            picked: HashMap::default(),
        }
    }

    /// Files a rule under a gram of each text; `false` if one has none but such as most URLs have.
    pub(super) fn file(&mut self, id: u32, texts: &[Text]) -> bool {
        let crowd = |hash: &&u64| self.picked.get(*hash).map_or(0, Vec::len);
        let pick = |text: &Text| {
            let telling = text.0.iter().filter(|hash| !self.common.contains(hash));
            telling.min_by_key(crowd).copied()
        };
        let Some(picks) = texts.iter().map(pick).collect::<Option<Vec<u64>>>() else {
            return false;
        };
        for pick in picks {
            self.picked.entry(pick).or_default().push(id);
        }
        true
    }

    /// Each hash with a rule that is filed under it, and how to find the hashes.
    pub(super) fn finish(self, pairs: &mut Vec<(u64, u32)>) -> Grams {
        let mut grams = Grams {
            bitmap: Box::default(),
            shift: 0,
        };
        if self.picked.is_empty() {
            return grams;
        }
        let bits = (self.picked.len() * BITS)
            .next_power_of_two()
            .ilog2()
            .clamp(10, BITS_MAX);
        grams.shift = 64 - bits;
        grams.bitmap = vec![0; 1 << (bits - 6)].into();
        for (hash, ids) in self.picked {
            let (word, bit) = grams.place(hash);
            grams.bitmap[word] |= bit;
            pairs.extend(ids.into_iter().map(|id| (hash, id)));
        }
        grams
    }
}

impl Grams {
    /// Each hash of a gram of `url` under which rules may be filed.
    pub(super) fn find(&self, url: &str, mut found: impl FnMut(u64)) {
        if self.bitmap.is_empty() {
            return;
        }
        for hash in hashes(url) {
            let (word, bit) = self.place(hash);
            if self.bitmap[word] & bit != 0 {
                found(hash);
            }
        }
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let bit = hash >> self.shift;
        ((bit >> 6) as usize, 1 << (bit & 63))
    }
}

/// The hash of each gram.
fn hashes(text: &str) -> impl DoubleEndedIterator<Item = u64> {
    text.as_bytes().windows(4).map(|window| {
        let gram = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
        // The bit in which letters differ by case. Other bytes lose it as well, and some grams become one.
        (u64::from(gram | 0x2020_2020) ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
