//! Truth values as the numbers 0 and 1, computed without branches.
//!
//! The kernel's verifier follows both ways of every branch. A chain of comparisons (`a && b && c`) is a branch for each of
//! them, and the paths through several chains multiply. Arithmetic has one path. LLVM recognizes arithmetic that computes a
//! truth value and makes branches of it again, many or few as its version likes: [`opaque`] prevents that.
//!
//! `verified_insns` in `/proc/PID/fdinfo` of a loaded program (since Linux 5.16) says what it cost. A unit test of httpjail
//! limits it for each program (`tests/cost.rs` of the `ebpf` backend).

use core::{
    arch::asm,
    ops::{BitAnd, BitOr, BitXor, Not},
};

/// Returns the number. LLVM then knows nothing of it: the `asm!` has no instruction, but LLVM takes it to change the number.
#[inline(always)]
fn opaque(mut number: u64) -> u64 {
    // SAFETY: there is no instruction. The comment is there because each operand of `asm!` must be used.
    unsafe { asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

/// A truth value.
#[derive(Clone, Copy)]
pub struct Bit(u64);

impl Bit {
    /// LLVM knows these two, and leaves out what depends on them.
    pub const TRUE: Bit = Bit(1);
    pub const FALSE: Bit = Bit(0);

    /// Is this number 0?
    #[inline(always)]
    pub fn is_zero(number: u64) -> Self {
        // The highest bit of `n | -n` is set for every number but 0.
        Bit(opaque(((number | opaque(number.wrapping_neg())) >> 63) ^ 1))
    }

    /// One number if this is true, the other if not.
    #[inline(always)]
    pub fn choose(self, yes: u64, no: u64) -> u64 {
        no ^ ((yes ^ no) & self.0.wrapping_neg())
    }

    /// For the condition of a branch.
    #[inline(always)]
    pub fn holds(self) -> bool {
        self.0 != 0
    }
}

impl BitAnd for Bit {
    type Output = Bit;

    #[inline(always)]
    fn bitand(self, other: Bit) -> Bit {
        Bit(opaque(self.0 & other.0))
    }
}

impl BitOr for Bit {
    type Output = Bit;

    #[inline(always)]
    fn bitor(self, other: Bit) -> Bit {
        Bit(opaque(self.0 | other.0))
    }
}

impl BitXor for Bit {
    type Output = Bit;

    #[inline(always)]
    fn bitxor(self, other: Bit) -> Bit {
        Bit(opaque(self.0 ^ other.0))
    }
}

impl Not for Bit {
    type Output = Bit;

    #[inline(always)]
    fn not(self) -> Bit {
        Bit(self.0 ^ 1)
    }
}
