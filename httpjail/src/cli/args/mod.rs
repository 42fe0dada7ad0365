//! The command line, as clap parses it. [`crate::config`] decides what it means.

mod configure;
mod help;
mod judging;
mod owner;
mod policies;
mod pool;
mod read;
mod rewrite;
mod runtime;
mod signed;
mod slips;
mod steering;
mod top;
mod word;

pub(crate) use judging::Run;
pub(crate) use owner::{List, Metrics, Reload};
pub(crate) use policies::{Check, Learn, Lint, Report};
pub(crate) use pool::Pool;
pub(super) use read::told;
pub(crate) use runtime::{Engine, Hook, Install, Node, Runtime, Uninstall};
pub(crate) use signed::{Fetch, Keygen, OnExpiry, PolicyAction, Sign, Verify};
pub(super) use slips::{meant_command, misplaced_option};
#[cfg(target_os = "linux")]
pub(crate) use steering::Place;
pub(crate) use steering::{Attach, Detach, Serve};
pub(crate) use top::{Ca, Cli, Other};

#[cfg(test)]
mod tests;
