//! The sixteen bytes of an address or of a thread's name as two numbers.
//!
//! Two numbers take two instructions to compare or copy. LLVM compares and copies an array of bytes one by one on this target.

use core::mem::transmute;
use httpjail_common::{Address, Comm};

pub type Halves = [u64; 2];

// SAFETY, of all: sixteen plain bytes each.

#[inline(always)]
pub fn from_address(address: Address) -> Halves {
    // SAFETY: see above.
    unsafe { transmute(address) }
}

#[inline(always)]
pub fn to_address(halves: Halves) -> Address {
    // SAFETY: see above.
    unsafe { transmute(halves) }
}

/// From the form in which contexts have addresses.
#[inline(always)]
pub fn from_words(words: [u32; 4]) -> Halves {
    // SAFETY: see above.
    unsafe { transmute(words) }
}

#[inline(always)]
pub fn to_words(halves: Halves) -> [u32; 4] {
    // SAFETY: see above.
    unsafe { transmute(halves) }
}

#[inline(always)]
pub fn to_comm(halves: Halves) -> Comm {
    // SAFETY: see above.
    unsafe { transmute(halves) }
}
