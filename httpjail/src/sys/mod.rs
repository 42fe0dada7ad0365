//! The only unsafe code: system calls that no library offers safely.
#![expect(
    unsafe_code,
    reason = "the one place for system calls without a safe wrapper; each block says why it holds"
)]

pub mod bpf;
