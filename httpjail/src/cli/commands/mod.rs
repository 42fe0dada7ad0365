//! A file for each command: what it does, from its configuration to its exit status.

#[cfg(target_os = "linux")]
pub(crate) mod attach;
#[cfg(target_os = "linux")]
mod attach_own;
pub(crate) mod ca;
pub(crate) mod check;
pub(crate) mod completions;
mod containers;
#[cfg(target_os = "linux")]
pub(crate) mod detach;
pub(crate) mod doctor;
pub(crate) mod learn;
pub(crate) mod lint;
#[cfg(target_os = "linux")]
pub(crate) mod list;
pub(crate) mod man;
#[cfg(target_os = "linux")]
pub(crate) mod metrics;
#[cfg(target_os = "linux")]
pub(crate) mod node;
pub(crate) mod policy;
#[cfg(target_os = "linux")]
pub(crate) mod pool;
#[cfg(target_os = "linux")]
pub(crate) mod reload;
pub(crate) mod report;
pub(crate) mod run;
#[cfg(target_os = "linux")]
pub(crate) mod runtime;
pub(crate) mod serve;
