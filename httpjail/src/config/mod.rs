//! Builds one [`Config`] from the command line and the text of the policy file.
//!
//! Pure: the caller reads the file, with the rights of the user who named it. An option that this version does not support
//! is an error here, so that nothing is silently ignored.

mod commands;
mod error;
pub mod file;
mod inbound;
mod labels;
mod merge;
pub(crate) mod options;
mod overrides;
mod publish;
mod reload;
mod typed_rules;
pub(crate) mod types;

pub(crate) use error::ConfigError;
pub(crate) use overrides::{CommandLine, Overrides};
pub(crate) use reload::{Reload, Reloaded};
pub(crate) use typed_rules::typed_rules;
#[cfg(target_os = "linux")]
pub(crate) use types::Publish;
pub(crate) use types::{Approval, Config, Existing, Learning, LogTarget, Mode, Purpose, STDIN, Serving, Stream};
