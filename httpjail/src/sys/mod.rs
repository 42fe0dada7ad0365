//! The only unsafe code: thin wrappers of system calls that no crate offers safely.
//!
//! Each function states what must hold and checks what it can, so that everything above it is safe Rust. Nothing here
//! knows of jails, rules or requests.
#![expect(unsafe_code, reason = "this module exists to fence it")]

#[cfg(target_os = "linux")]
pub(crate) mod bpf;
#[cfg(target_os = "linux")]
pub(crate) mod clone;
#[cfg(target_os = "linux")]
pub(crate) mod fds;
pub(crate) mod memory;
#[cfg(target_os = "linux")]
pub(crate) mod mounts;
#[cfg(target_os = "linux")]
pub(crate) mod namespaces;
#[cfg(target_os = "linux")]
pub(crate) mod notification;
#[cfg(target_os = "linux")]
pub(crate) mod socket;
#[cfg(unix)]
pub(crate) mod terminal;
#[cfg(target_os = "linux")]
pub(crate) mod thread;
#[cfg(target_os = "linux")]
pub(crate) mod users;
