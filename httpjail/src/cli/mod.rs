//! What the user types and what becomes of it: `args` is what was typed, `commands` are what httpjail can do, `compose` puts
//! the parts of a run together for them.

mod anchored_path;
pub(crate) mod args;
#[cfg(target_os = "linux")]
mod authority_dirs;
mod backends;
#[cfg(target_os = "linux")]
mod born;
mod commands;
mod compose;
mod context;
mod dispatch;
mod hints;
mod invoking_user;
mod output;
mod policy_file;
#[cfg(target_os = "linux")]
mod readiness;
mod replay;
mod run_stats;
mod safe_from;

pub use dispatch::main;
