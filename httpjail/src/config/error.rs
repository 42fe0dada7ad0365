//! Errors in the command line or in the policy file, and what to write instead.

use std::net::SocketAddr;

use super::file::FileError;
use crate::policy::RuleError;

/// Why the command line or the policy file cannot be used. Exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// There is no command.
    #[error("no command to run")]
    NoCommand,
    /// A rule of the command line cannot be parsed: its number, its text, why.
    #[error("-r {0} (`{1}`): {2}")]
    Rule(usize, String, RuleError),
    /// The policy file cannot be read as one.
    #[error(transparent)]
    File(#[from] FileError),
    /// Two options exclude each other, one of them from the file.
    #[error("{0} conflicts with {1}")]
    Conflict(&'static str, &'static str),
    /// A proxy without authentication that other machines can reach.
    #[error("refusing to listen on {0} with --auth none: other machines could use the proxy")]
    Open(SocketAddr),
    /// An option of the file that only `serve` has.
    #[error("`{0}:` applies to `httpjail serve` only")]
    Serving(&'static str),
    /// An option of the file that only `attach` has.
    #[error("`{0}:` applies to `httpjail attach` only")]
    Attaching(&'static str),
    /// Not a port.
    #[error("invalid port `{0}`: expected [HOST:]PORT")]
    Publish(String),
    /// Not peers and a port.
    #[error("invalid peers `{0}`: expected ADDRESS[/BITS]:PORT")]
    Inbound(String),
    /// Not a key and a value.
    #[error("invalid label `{0}`: expected KEY=VALUE")]
    Label(String),
    /// Too many labels.
    #[error("too many labels: expected at most {0}")]
    Labels(usize),
    /// Weak mode, which makes no jail, cannot do it.
    #[error("{0} needs a jail: weak mode has none")]
    OfJails(&'static str),
}

impl ConfigError {
    /// Returns what to write instead, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ConfigError::NoCommand => Some("httpjail [OPTIONS] -- COMMAND [ARGS]".into()),
            ConfigError::Rule(_, text, error) => error.hint(text),
            ConfigError::File(error) => error.hint.clone(),
            ConfigError::Publish(_) => Some("a port from 1 to 65535; HOST is an address of this machine".into()),
            ConfigError::Inbound(_) => Some(
                "for example 10.0.0.0/8:8080 or [fd00::/8]:8080; what shares the loopback with it is held together with it, \
                 by a cgroup above both"
                    .into(),
            ),
            ConfigError::Label(_) => Some(
                "a key is at most 63 letters, digits and `_-./`, and begins with a letter; a value is at most 253 bytes on one line"
                    .into(),
            ),
            ConfigError::Labels(_) => Some("what differs from run to run belongs into the log".into()),
            ConfigError::Serving(_) => Some("keep it in a file of its own, for `serve`".into()),
            ConfigError::Attaching(_) => Some("keep it in a file of its own, for `attach`".into()),
            ConfigError::Conflict(..) => Some("keep one of them".into()),
            ConfigError::Open(_) => Some("omit --auth none, or listen on 127.0.0.1".into()),
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
