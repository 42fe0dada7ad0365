//! How traffic is steered.

pub mod bpf;
