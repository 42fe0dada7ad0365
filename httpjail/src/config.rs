//! What was typed becomes what it means: one [`Config`] from the command line and the text of the policy file.
//!
//! Pure: the file is read by the caller, with the rights of the user who named it. An option that this version cannot honour
//! is an error here, so that nothing is silently ignored.

mod error;
mod merge;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::{Attach, Auth, Run, Serve};
use crate::policy::yaml::{Backend, DnsMode, Level, LogFormat};
use crate::policy::{Policy, Warning};

pub use error::ConfigError;

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Config {
    /// The command and its arguments.
    pub command: Command,
    /// The rules.
    pub policy: Arc<Policy>,
    /// What verdicts do.
    pub mode: Mode,
    /// Whether TLS is decrypted.
    pub intercept_tls: bool,
    /// When the command is ended.
    pub timeout: Option<Duration>,
    /// The request log.
    pub log: Log,
    /// How much httpjail says of itself.
    pub verbosity: Level,
    /// The user that the command runs as, if one was named.
    pub user: Option<String>,
    /// Unix sockets of the host that stay reachable.
    pub allow_sockets: Vec<PathBuf>,
    /// Files with further roots to trust servers by.
    pub upstream_ca: Vec<PathBuf>,
    /// Whether the interception authority is kept in memory only.
    pub ephemeral_ca: bool,
    /// How traffic is steered.
    pub backend: Backend,
    /// What the resolver answers.
    pub dns: DnsMode,
    /// Ports that the jail listens on and that this host is to reach.
    pub publish: Vec<Publish>,
    /// The policy file, if one was named.
    pub file: Option<PathBuf>,
    /// Who decides on what no rule matches.
    pub approval: Approval,
    /// How long that may take for one request.
    pub approve_timeout: Duration,
    /// What the user should be told before the command starts.
    pub warnings: Vec<Warning>,
}

/// Who decides on what no rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// Nobody: it is denied.
    Nobody,
    /// Whoever sits at the terminal.
    Terminal,
    /// A program: a command for the shell.
    Program(String),
}

/// A port of the jail that this host is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// The address of this host at which it can be reached; loopback if none was named.
    pub host: Option<IpAddr>,
    /// The port, there and here.
    pub port: u16,
}

/// A program and its arguments; empty where there is none to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, as typed.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What verdicts do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A denied request is refused.
    Enforce,
    /// Requests are judged and logged, and all go through.
    DryRun,
    /// Requests are logged, not judged, and all go through.
    LogOnly,
}

/// The request log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where it goes.
    pub target: LogTarget,
    /// Its form.
    pub format: LogFormat,
    /// Whether denials on stderr are left out.
    pub quiet: bool,
}

/// Where the request log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Denials to stderr, one line each.
    Stderr,
    /// Every request to this file.
    File(PathBuf),
}

/// The policy file that was named, read.
#[derive(Debug, Clone, Copy)]
pub struct ConfigFile<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its bytes; YAML is UTF-8.
    pub bytes: &'a [u8],
}

impl Config {
    /// Makes the configuration of a run. Rules of the command line come first, and its options win over the file's.
    ///
    /// # Errors
    /// [`ConfigError`] for a wrong rule or file, and for what this version cannot do.
    pub fn from_args(args: Run, file: Option<ConfigFile<'_>>) -> Result<Config, ConfigError> {
        let mut words = args.command.iter().cloned();
        let program = words.next().filter(|program| !program.is_empty());
        let command = Command {
            program: program.ok_or(ConfigError::NoCommand)?,
            args: words.collect(),
        };
        Config::of(args, file, command)
    }

    /// Makes the configuration of a proxy without a command.
    ///
    /// # Errors
    /// As [`Config::from_args`], and for a proxy that anybody on a network could use.
    pub fn for_serving(serve: Serve, file: Option<ConfigFile<'_>>) -> Result<Config, ConfigError> {
        if serve.auth == Auth::None && !serve.listen.ip().is_loopback() {
            return Err(ConfigError::Open(serve.listen));
        }
        let args = Run {
            shared: serve.shared,
            weak: true,
            ..Run::default()
        };
        let nothing = Command {
            program: OsString::new(),
            args: Vec::new(),
        };
        Config::of(args, file, nothing)
    }

    /// Makes the configuration of an attachment, which runs no command either.
    ///
    /// # Errors
    /// As [`Config::from_args`], and for what only a command can have.
    pub fn for_attaching(attach: Attach, file: Option<ConfigFile<'_>>) -> Result<Config, ConfigError> {
        let args = Run {
            shared: attach.shared,
            dns: attach.dns,
            backend: Some(Backend::Ebpf),
            ..Run::default()
        };
        let nothing = Command {
            program: OsString::new(),
            args: Vec::new(),
        };
        let config = Config::of(args, file, nothing)?;
        for (given, name) in [
            (config.timeout.is_some(), "timeout"),
            (config.user.is_some(), "user"),
            (!config.allow_sockets.is_empty(), "allow-socket"),
            (!config.publish.is_empty(), "publish"),
            (config.approval == Approval::Terminal, "interactive"),
            // What runs already could not be told to trust it.
            (config.ephemeral_ca, "--ephemeral-ca"),
        ] {
            if given {
                return Err(ConfigError::Conflict("attach", name));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
