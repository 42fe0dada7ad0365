//! httpjail: run a command whose only way out is a proxy that judges each HTTP and HTTPS request by rules.
//!
//! The library exists for the binary, its tests and its benches; ARCHITECTURE.md tells how the modules fit.

pub mod approve;
pub mod audit;
pub mod cli;
pub mod config;
pub mod dns;
pub mod failure;
#[cfg(target_os = "linux")]
pub mod jail;
pub mod logging;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod sys;
pub mod tls;
pub mod weak;
