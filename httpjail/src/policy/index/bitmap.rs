//! An approximate set of hashes, small enough to stay in the processor's cache.
//!
//! Most of what a URL looks up is not in the index. This set says so without a look at the large table.

/// A set that never denies what it has, and now and then claims what it has not.
#[derive(Debug)]
pub(super) struct Bitmap {
    words: Box<[u64]>,
    shift: u32,
}

/// Bits for each hash, before rounding up.
const BITS: usize = 16;
/// The most bits, as a power of two: 256 KiB.
const BITS_MAX: u32 = 21;

impl Bitmap {
    /// Of these hashes, of which there are about `count`.
    pub(super) fn new(count: usize, hashes: impl Iterator<Item = u64>) -> Bitmap {
        let bits = (count * BITS).next_power_of_two().ilog2().clamp(6, BITS_MAX);
        let mut bitmap = Bitmap {
            words: vec![0; 1 << (bits - 6)].into(),
            shift: 64 - bits,
        };
        for hash in hashes {
            let (word, bit) = bitmap.place(hash);
            bitmap.words[word] |= bit;
        }
        bitmap
    }

    /// Whether this hash may be one of them.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.words[word] & bit != 0
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let bit = hash >> self.shift;
        ((bit >> 6) as usize, 1 << (bit & 63))
    }
}
