//! The kernel that runs: what it says of its own types, and programs for it that are made of instructions at the start.

pub(in crate::jail) mod assembler;
pub(in crate::jail) mod btf;

/// `enum bpf_prog_type`: programs on the kernel's own functions.
pub(in crate::jail) const BPF_PROG_TYPE_TRACING: u32 = 26;
