//! Memory that the allocator holds and nobody uses.

/// Gives it back to the system. glibc keeps what thousands of ended connections have freed, for it lies between pieces that
/// are in use and not at the heap's end; `malloc_trim(3)` gives back every whole page of it. Other allocators do so themselves.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: the call takes an integer, locks the arenas itself and touches only what is free.
        unsafe { libc::malloc_trim(0) };
    }
}
