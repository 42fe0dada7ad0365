//! Arguments of `serve`, `attach` and `detach`, which run no command.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::judging::Shared;
use super::word::word;
use crate::config::file::parse_address;
use crate::config::options::{Auth, DnsMode};

/// The proxy alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Serve {
    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// Where to listen: an address of this host, or localhost [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address, help_heading = "Traffic")]
    pub listen: Option<SocketAddr>,

    /// What clients must show: a token that is printed on start, or nothing (on this host alone) [default: token]
    #[arg(long, value_name = "AUTH", value_parser = word::<Auth>(), help_heading = "Traffic")]
    pub auth: Option<Auth>,
}

/// Attaching to a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Attach {
    /// The cgroup (version 2), as a path of the file system or as /proc/PID/cgroup spells it
    #[arg(long, value_name = "PATH")]
    pub cgroup: PathBuf,

    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// What the resolver answers [default: synthetic]
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,
}

/// Opening a cgroup again.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Detach {
    /// The cgroup that httpjail is, or was, attached to
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Every such cgroup
    #[arg(long)]
    pub all: bool,
}
