//! The configuration of a run, of a proxy without a command, or of an attachment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::file::Limits;
use super::options::{Auth, Backend, DnsMode, Level, LogFormat, UpstreamNetwork};
use super::reload::Reload;
use crate::audit::SummaryForm;
use crate::net::{HostPattern, Inbound};
use crate::policy::{Policy, Warning};

/// The whole configuration of a run.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The command and its arguments.
    pub command: Command,
    /// The run's name, if it was given one.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub policy: Arc<Policy>,
    pub mode: Mode,
    /// What the run is for.
    pub purpose: Purpose,
    /// The summary at its end, if one is wanted.
    pub summary: Option<SummaryForm>,
    /// Whether TLS is decrypted.
    pub intercept_tls: bool,
    /// Hosts whose TLS is never decrypted.
    pub passthrough: Vec<HostPattern>,
    /// How long the command may run.
    pub timeout: Option<Duration>,
    pub log: Log,
    /// The level of httpjail's own messages.
    pub verbosity: Level,
    /// The user that the command runs as, if one was named.
    pub user: Option<String>,
    /// Unix sockets of the host that stay reachable.
    pub allow_sockets: Vec<PathBuf>,
    /// Files with additional root certificates for servers.
    pub upstream_ca: Vec<PathBuf>,
    /// Whether the interception authority is kept in memory only.
    pub ephemeral_ca: bool,
    /// How traffic is steered.
    pub backend: Backend,
    /// What the resolver answers.
    pub dns: DnsMode,
    /// The proxy's bounds that the file sets.
    pub limits: Limits,
    /// Ports that the jail listens on and that this host is to reach.
    pub publish: Vec<Publish>,
    /// Who may connect to what is attached.
    pub inbound: Vec<Inbound>,
    /// Whose network leads to servers.
    pub upstream_network: UpstreamNetwork,
    /// The policy file, if one was named.
    pub file: Option<PathBuf>,
    /// Who decides on what no rule matches.
    pub approval: Approval,
    /// How long that may take for one request.
    pub approve_timeout: Duration,
    /// What is needed to reload the policy file; none without a file.
    pub reload: Option<Reload>,
    /// Warnings that are shown before the command starts.
    pub warnings: Vec<Warning>,
}

/// Who decides on what no rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Approval {
    /// No one: the request is denied.
    Nobody,
    /// The user at the terminal.
    Terminal,
    /// A program: a command for the shell.
    Program(String),
}

/// A port of the jail that this host is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publish {
    /// The address of this host at which it can be reached; loopback if none was named.
    pub host: Option<IpAddr>,
    /// The port, there and here.
    pub port: u16,
}

/// A program and its arguments; empty where there is none to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The program, as typed.
    pub program: OsString,
    pub args: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A denied request is refused.
    Enforce,
    /// Requests are judged and logged, and all go through.
    DryRun,
    /// Requests are logged, not judged, and all go through.
    LogOnly,
    /// What a rule denies is refused; what no rule is about goes through.
    Learn,
}

/// What a run is for, besides the command's own work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Only the command.
    Work,
    /// To write the policy that allows what the command asks for.
    Learn(Learning),
    /// To show that the command asks for nothing but what the policy of this file allows.
    Locked(PathBuf),
}

/// Where learned rules are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learning {
    pub path: PathBuf,
    /// What becomes of a file that is there already.
    pub existing: Existing,
}

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and nothing is learned.
    Keep,
    /// It is replaced.
    Replace,
    /// Rules are added to its own.
    Extend,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub target: LogTarget,
    pub format: LogFormat,
    /// Whether denials on stderr are left out.
    pub quiet: bool,
}

/// Where the request log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// Denials to stderr, one line each.
    Stderr,
    /// Every request to this file.
    File(PathBuf),
    /// Every request there.
    Stream(Stream),
}

/// An output that httpjail was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, which is the command's besides.
    Stdout,
    Stderr,
}

/// What a policy file is called that was read from standard input.
pub(crate) const STDIN: &str = "stdin";

/// How `serve` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serving {
    pub listen: SocketAddr,
    /// What clients must show.
    pub auth: Auth,
}
