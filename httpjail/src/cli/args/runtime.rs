//! Arguments of `runtime`, which names httpjail to container engines, and of `node`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// What can be done for container engines.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Runtime {
    /// Name httpjail-runc to an engine, as the runtime `httpjail`, and `httpjail-NAME` for a policy
    Install(Install),

    /// Undo `install`
    Uninstall(Uninstall),

    /// Hold the container that standard input tells of: an OCI runtime calls it, as a createRuntime hook
    Hook(Hook),
}

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// /etc/docker/daemon.json
    Docker,
    /// /etc/containers/containers.conf.d/httpjail.conf, an entry of hooks.d, and a CDI specification
    Podman,
    /// /etc/containerd/config.toml, for Kubernetes
    Containerd,
}

/// Naming the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Install {
    /// The engine
    pub engine: Engine,

    /// A policy that gets a runtime's name of its own; repeatable
    #[arg(long, value_name = "NAME")]
    pub policy: Vec<String>,

    /// Print what would be written, and write nothing
    #[arg(long)]
    pub print: bool,
}

/// Undoing that.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Uninstall {
    /// The engine
    pub engine: Engine,

    /// Print what would be written, and write nothing
    #[arg(long)]
    pub print: bool,
}

/// The hook of a container.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Hook {
    /// The policy: a name, of NAME.yaml among root's policies; without it everything is denied
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,

    /// The directory with root's policies and the authority [default: /etc/httpjail]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// The name of the container's files below /run/httpjail/containers, which httpjail-runc has made
    #[arg(long, value_name = "NAME", hide = true)]
    pub state: Option<String>,

    /// The same name of the sandbox of the container's pod, which may be the container itself
    #[arg(long, value_name = "NAME", hide = true)]
    pub pod: Option<String>,
}

/// Holding many jails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Node {
    /// The node file [default: /etc/httpjail/node.yaml]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// The directory with root's policies and the authority [default: /etc/httpjail]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Print what would be held, and change nothing
    #[arg(long)]
    pub check: bool,

    /// Leave everything held and closed when a signal ends the node
    #[arg(long, conflicts_with = "check")]
    pub keep: bool,
}
