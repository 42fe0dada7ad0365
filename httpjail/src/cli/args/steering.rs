//! Arguments of `serve`, `attach` and `detach`, which run no command.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::judging::Shared;
use super::word::word;
use crate::config::file::parse_address;
use crate::config::options::{Auth, DnsMode, UpstreamNetwork};

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Attach {
    /// What to attach to.
    #[command(flatten)]
    pub place: Place,

    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// What the resolver answers [default: synthetic]
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,

    /// Let these peers connect to a port that the processes listen on; repeatable
    ///
    /// A network or an address: 10.0.0.0/8:8080, [fd00::/8]:8080. Nobody else can. What the processes answer is not judged.
    #[arg(long, value_name = "ADDRESS[/BITS]:PORT", help_heading = "Traffic")]
    pub inbound: Vec<String>,

    /// Whose network leads to servers [default: auto]
    ///
    /// auto: that of the processes, if it is not this host's and leads out, else this host's. container: that of the processes,
    /// or it is an error. host: this host's. By the processes' own network its egress rules apply and its name servers are asked.
    #[arg(long, value_name = "NETWORK", value_parser = word::<UpstreamNetwork>(), help_heading = "Traffic")]
    pub upstream_network: Option<UpstreamNetwork>,
}

/// The four ways to name a cgroup, of which one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The cgroup (version 2), as a path of the file system or as /proc/PID/cgroup spells it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// A container of docker, podman, containerd, runc or crun: its name, its id, or how that begins
    #[arg(long, value_name = "ID|NAME")]
    pub container: Option<String>,

    /// The cgroup that this process is in
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,

    /// A unit of systemd; `.service` may be left out
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
}

/// Opening a cgroup again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Detach {
    /// The cgroup that httpjail is, or was, attached to
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// The container
    #[arg(long, value_name = "ID|NAME")]
    pub container: Option<String>,

    /// The cgroup that this process is in
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,

    /// The unit of systemd
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,

    /// Every such cgroup
    #[arg(long)]
    pub all: bool,
}

#[cfg(target_os = "linux")]
impl Detach {
    /// The cgroup, if not every one is meant.
    pub(crate) fn place(&self) -> Place {
        Place {
            cgroup: self.cgroup.clone(),
            container: self.container.clone(),
            pid: self.pid,
            unit: self.unit.clone(),
        }
    }
}
