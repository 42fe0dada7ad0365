//! Measures the memory that is allocated, and returns what the allocator holds without use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

/// What a thread may have allocated or freed before it says so, in bytes: the count that all share is far from each core.
const UNTOLD: isize = 4096;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    // Without a destructor and constant: it allocates nothing, at no time.
    static HERE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
pub struct Counting;

/// How many bytes are allocated; 0 where [`Counting`] is not the allocator.
pub(crate) fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed).try_into().unwrap_or(0)
}

fn count(change: isize) {
    let sum = HERE.try_with(|here| {
        let sum = here.get().saturating_add(change);
        let told = sum.unsigned_abs() >= UNTOLD.unsigned_abs();
        here.set(if told { 0 } else { sum });
        if told { sum } else { 0 }
    });
    match sum.unwrap_or(change) {
        0 => {}
        sum => {
            ALLOCATED.fetch_add(sum, Ordering::Relaxed);
        }
    }
}

/// No layout is larger than `isize::MAX` (`Layout`'s documentation).
fn size_of(layout: Layout) -> isize {
    layout.size().cast_signed()
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            count(size_of(layout));
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            count(size_of(layout));
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`; the pointer is `System`'s.
        unsafe { System.dealloc(pointer, layout) };
        count(-size_of(layout));
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if !moved.is_null() {
            count(new_size.cast_signed() - size_of(layout));
        }
        moved
    }
}

/// Gives free memory back to the system. glibc keeps what thousands of ended connections have freed, for it lies between
/// pieces that are in use and not at the heap's end; `malloc_trim(3)` gives back every whole page of it. Other allocators do
/// so themselves.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: the call takes an integer, locks the arenas itself and touches only what is free.
        unsafe { libc::malloc_trim(0) };
    }
}
