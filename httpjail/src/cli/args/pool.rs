//! Arguments of `pool`, which keeps jails ready, and the options that `--pool` may stand beside.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::judging::{Run, Shared};
use super::word::word;
use crate::config::file::parse_seconds;
use crate::config::options::{Backend, DnsMode};

/// The name of a pool that has none.
pub(super) const DEFAULT: &str = "default";

/// More jails than a host has room for.
const SIZE_MAX: i64 = 1000;

/// Keeping jails ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Pool {
    /// How many jails wait, for each user
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        value_parser = clap::value_parser!(u16).range(1..=SIZE_MAX),
        help_heading = "The pool"
    )]
    pub size: u16,

    /// Whose the jails are; repeatable [default: the user who starts the pool]
    ///
    /// A jail runs the command of its user alone, as that user. Root takes those of the first.
    #[arg(long, value_name = "NAME", help_heading = "The pool")]
    pub user: Vec<String>,

    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// How traffic is steered to the proxy [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = word::<Backend>(), help_heading = "Traffic")]
    pub backend: Option<Backend>,

    /// What the jails' resolver answers [default: synthetic]
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,

    /// Kill a command and all that it started after this time; exit status 124
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "The command")]
    pub timeout: Option<Duration>,

    /// Leave this Unix socket of the host reachable; repeatable
    #[arg(long, value_name = "PATH", help_heading = "The command")]
    pub allow_socket: Vec<PathBuf>,
}

impl Pool {
    /// The name by which `--pool=NAME` finds it.
    pub(crate) fn name(&self) -> &str {
        self.shared.name.as_deref().unwrap_or(DEFAULT)
    }
}

impl Run {
    /// Whether nothing is given but a pool's name and a command.
    pub(crate) fn is_for_a_pool_alone(&self) -> bool {
        let rest = Run {
            pool: None,
            command: Vec::new(),
            ..self.clone()
        };
        rest == Run::default()
    }
}
