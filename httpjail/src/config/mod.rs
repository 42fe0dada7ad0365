//! What was typed becomes what it means: one [`Config`] from the command line and the text of the policy file.
//!
//! Pure: the file is read by the caller, with the rights of the user who named it. An option that this version cannot honour
//! is an error here, so that nothing is silently ignored.

mod error;
pub mod file;
mod limits;
mod merge;
pub(crate) mod options;
mod reload;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::{Attach, Learn, Run, Serve};
use crate::net::HostPattern;
use crate::policy::{Policy, Warning};
use crate::proxy::Limits;

use crate::audit::SummaryForm;
use file::File;
use options::{Auth, Backend, DnsMode, Level, LogFormat};

pub(crate) use error::ConfigError;
pub(crate) use merge::typed_rules;
pub(crate) use reload::{Reload, Reloaded};

/// Everything that a run needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    /// The command and its arguments.
    pub command: Command,
    /// The rules.
    pub policy: Arc<Policy>,
    /// What verdicts do.
    pub mode: Mode,
    /// What the run is for.
    pub purpose: Purpose,
    /// The summary at its end, if one is wanted.
    pub summary: Option<SummaryForm>,
    /// Whether TLS is decrypted.
    pub intercept_tls: bool,
    /// Hosts whose TLS is not decrypted all the same.
    pub passthrough: Vec<HostPattern>,
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
    /// The proxy's bounds.
    pub limits: Limits,
    /// Ports that the jail listens on and that this host is to reach.
    pub publish: Vec<Publish>,
    /// The policy file, if one was named.
    pub file: Option<PathBuf>,
    /// Who decides on what no rule matches.
    pub approval: Approval,
    /// How long that may take for one request.
    pub approve_timeout: Duration,
    /// What a new policy is made of when the policy file changes; none without a file.
    pub reload: Option<Reload>,
    /// What the user should be told before the command starts.
    pub warnings: Vec<Warning>,
}

/// Who decides on what no rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Approval {
    /// Nobody: it is denied.
    Nobody,
    /// Whoever sits at the terminal.
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
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What verdicts do.
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
    /// Nothing else.
    Work,
    /// To write the policy that allows what the command asks for.
    Learn(Learning),
    /// To show that the command asks for nothing but what the policy of this file allows.
    Locked(PathBuf),
}

/// Where what is learnt goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learning {
    /// The policy file.
    pub path: PathBuf,
    /// What becomes of a file that is there already.
    pub existing: Existing,
}

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and nothing is learnt.
    Keep,
    /// It is replaced.
    Replace,
    /// Rules are added to its own.
    Extend,
}

/// The request log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// Where it goes.
    pub target: LogTarget,
    /// Its form.
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
    /// Standard error.
    Stderr,
}

/// What a policy file is called that was read from standard input.
pub(crate) const STDIN: &str = "stdin";

/// How `serve` is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What clients must show.
    pub auth: Auth,
}

/// Where `serve` listens if nothing else is said.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

impl Config {
    /// Makes the configuration of a run. Rules of the command line come first, and its options win over the file's.
    ///
    /// # Errors
    /// [`ConfigError`] for a wrong rule or file, and for what this version cannot do.
    pub(crate) fn from_args(args: Run, file: Option<File>) -> Result<Config, ConfigError> {
        let mut words = args.command.iter().cloned();
        let program = words.next().filter(|program| !program.is_empty());
        let command = Command {
            program: program.ok_or(ConfigError::NoCommand)?,
            args: words.collect(),
        };
        refuse_serving(file.as_ref())?;
        let locked = args.locked.clone();
        let mut config = Config::of(args, file, command)?;
        if let Some(path) = locked {
            if config.mode != Mode::Enforce {
                return Err(ConfigError::Conflict("--locked", "dry-run or log-only"));
            }
            config.purpose = Purpose::Locked(path);
            // It is this policy that the run is held against.
            config.reload = None;
        }
        Ok(config)
    }

    /// Makes the configuration of a run that a policy is learnt from; `file` is the one that is added to, or `--config`.
    ///
    /// # Errors
    /// As [`Config::from_args`].
    pub(crate) fn for_learning(learn: Learn, file: Option<File>) -> Result<Config, ConfigError> {
        let existing = match (learn.update, learn.force) {
            (true, _) => Existing::Extend,
            (_, true) => Existing::Replace,
            _ => Existing::Keep,
        };
        if learn.run.locked.is_some() {
            return Err(ConfigError::Conflict("learn", "--locked"));
        }
        let mut config = Config::from_args(learn.run, file)?;
        if config.mode != Mode::Enforce {
            return Err(ConfigError::Conflict("learn", "dry-run or log-only"));
        }
        config.mode = Mode::Learn;
        config.reload = None;
        config.purpose = Purpose::Learn(Learning {
            path: learn.output,
            existing,
        });
        Ok(config)
    }

    /// Makes the configuration of a proxy without a command.
    ///
    /// # Errors
    /// As [`Config::from_args`], and for a proxy that anybody on a network could use.
    pub(crate) fn for_serving(serve: Serve, file: Option<File>) -> Result<(Config, Serving), ConfigError> {
        let options = file.as_ref().map(|file| file.options.clone()).unwrap_or_default();
        let serving = Serving {
            listen: serve.listen.or(options.listen).unwrap_or(LISTEN),
            auth: serve.auth.or(options.auth).unwrap_or(Auth::Token),
        };
        if serving.auth == Auth::None && !serving.listen.ip().is_loopback() {
            return Err(ConfigError::Open(serving.listen));
        }
        if options.backend.is_some_and(|backend| backend != Backend::Weak) {
            return Err(ConfigError::Conflict("serve", "backend"));
        }
        let args = Run {
            shared: serve.shared,
            weak: true,
            ..Run::default()
        };
        let config = Config::of(args, file, Command::none())?;
        config.has_no_command("serve")?;
        Ok((config, serving))
    }

    /// Makes the configuration of an attachment, which runs no command either.
    ///
    /// # Errors
    /// As [`Config::from_args`], and for what only a command can have.
    pub(crate) fn for_attaching(attach: Attach, file: Option<File>) -> Result<Config, ConfigError> {
        refuse_serving(file.as_ref())?;
        if let Some(File { options, .. }) = &file
            && (options.weak == Some(true) || matches!(options.backend, Some(Backend::Netns | Backend::Weak)))
        {
            return Err(ConfigError::Conflict("attach", "backend"));
        }
        let args = Run {
            shared: attach.shared,
            dns: attach.dns,
            backend: Some(Backend::Ebpf),
            ..Run::default()
        };
        let config = Config::of(args, file, Command::none())?;
        config.has_no_command("attach")?;
        // What runs already could not be told to trust it.
        if config.ephemeral_ca {
            return Err(ConfigError::Conflict("attach", "--ephemeral-ca"));
        }
        Ok(config)
    }

    /// Refuses what only a command can have.
    fn has_no_command(&self, what: &'static str) -> Result<(), ConfigError> {
        let given = [
            (self.timeout.is_some(), "timeout"),
            (self.user.is_some(), "user"),
            (!self.allow_sockets.is_empty(), "allow-socket"),
            (!self.publish.is_empty(), "publish"),
            (self.approval == Approval::Terminal, "interactive"),
        ];
        match given.into_iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(ConfigError::Conflict(what, name)),
            None => Ok(()),
        }
    }
}

/// Refuses what only `serve` can have.
fn refuse_serving(file: Option<&File>) -> Result<(), ConfigError> {
    match file.map(|file| &file.options) {
        Some(options) if options.listen.is_some() => Err(ConfigError::Serving("listen")),
        Some(options) if options.auth.is_some() => Err(ConfigError::Serving("auth")),
        _ => Ok(()),
    }
}

impl Command {
    /// No command.
    fn none() -> Command {
        Command {
            program: OsString::new(),
            args: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
