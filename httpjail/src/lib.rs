//! httpjail: run a command whose only way out is a proxy that judges each HTTP and HTTPS request by rules.
//!
//! The library serves the binary, its benches and its fuzzers. ARCHITECTURE.md tells how the modules fit. Only what these
//! use is public, so that the compiler finds dead code.

#![cfg_attr(
    any(not(target_os = "linux"), fuzzing),
    expect(
        dead_code,
        reason = "what serves jails has no user on other systems, and a fuzzer drives no command"
    )
)]

pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod backend;
pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod counts;
pub(crate) mod dns;
pub(crate) mod failure;
#[cfg(target_os = "linux")]
pub(crate) mod jail;
pub(crate) mod logging;
pub mod net;
#[cfg(target_os = "linux")]
pub(crate) mod oci;
pub mod policy;
pub(crate) mod proxy;
pub(crate) mod signed;
pub(crate) mod sync;
pub(crate) mod sys;
pub(crate) mod tls;
pub(crate) mod weak;

// The fuzzers' build is of one unit: with the commands in it, it takes minutes more.
#[cfg(not(fuzzing))]
pub use cli::main;
pub use config::file as policy_file;
#[cfg(any(test, feature = "fuzzing"))]
pub use proxy::fuzzing;
pub use sys::memory::Counting;
#[cfg(any(test, feature = "fuzzing"))]
pub use tls::minting;
