//! Why what was typed means nothing, and what to write instead.

use std::net::SocketAddr;

use super::file::FileError;
use crate::policy::RuleError;

/// Why what was typed means nothing. Exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// There is no command.
    #[error("no command to run")]
    NoCommand,
    /// A rule of the command line is none: its number, its text, why.
    #[error("-r {0} (`{1}`): {2}")]
    Rule(usize, String, RuleError),
    /// The policy file is none.
    #[error(transparent)]
    File(#[from] FileError),
    /// Two options exclude each other, one of them from the file.
    #[error("{0} and {1} exclude each other")]
    Conflict(&'static str, &'static str),
    /// A proxy for everybody, where everybody is more than this host.
    #[error("{0} is not this host's alone, and --auth none would let anybody use the proxy")]
    Open(SocketAddr),
    /// An option of the file that only `serve` has.
    #[error("`{0}:` is for `httpjail serve`")]
    Serving(&'static str),
    /// What should name a port names none.
    #[error("`{0}` is no [HOST:]PORT to publish")]
    Publish(String),
    /// Weak mode, which makes no jail, cannot do it.
    #[error("{0} needs a jail, and weak mode makes none")]
    OfJails(&'static str),
}

impl ConfigError {
    /// What to write instead, where that can be told.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ConfigError::NoCommand => Some("httpjail [OPTIONS] -- COMMAND [ARGS]".into()),
            ConfigError::Rule(_, text, error) => error.hint(text),
            ConfigError::File(error) => error.hint.clone(),
            ConfigError::Publish(_) => Some("a port from 1 to 65535; HOST is an address of this machine".into()),
            ConfigError::Serving(_) => Some("keep it in a file of its own, for `serve`".into()),
            ConfigError::Conflict(..) => Some("keep one of them".into()),
            ConfigError::Open(_) => Some("leave --auth away, or listen on 127.0.0.1".into()),
            ConfigError::OfJails("--interactive") => {
                Some("--approve-with COMMAND has a program decide; the terminal is the command's own here".into())
            }
            ConfigError::OfJails(_) => Some(format!(
                "leave {} away",
                if cfg!(target_os = "linux") {
                    "it or --weak"
                } else {
                    "it"
                }
            )),
        }
    }
}
