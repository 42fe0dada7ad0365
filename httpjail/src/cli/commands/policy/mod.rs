//! `httpjail policy`: signs policies for many machines, and keeps a policy file as a server has it.

#[cfg(target_os = "linux")]
mod download;
#[cfg(target_os = "linux")]
pub(crate) mod fetch;
mod files;
#[cfg(target_os = "linux")]
mod kept;
pub(crate) mod sign;
#[cfg(target_os = "linux")]
mod state;
