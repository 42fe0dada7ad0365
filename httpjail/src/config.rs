//! What was typed becomes what it means: one [`Config`] from the command line and the text of the policy file.
//!
//! Pure: the file is read by the caller, with the rights of the user who named it. An option that this version cannot honour
//! is an error here, so that nothing is silently ignored.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::{Attach, Auth, Run, Serve};
use crate::net::HostPattern;
use crate::policy::yaml::{self, Backend, DnsMode, FileError, Level, LogFormat};
use crate::policy::{Policy, Rule, RuleError, Source, Warning, lint};

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
    /// Ports that the jail listens on and that this host is to reach.
    pub publish: Vec<Publish>,
    /// What the user should be told before the command starts.
    pub warnings: Vec<Warning>,
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

/// Why what was typed means nothing. Exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
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
    /// What should name a port names none.
    #[error("`{0}` is no [HOST:]PORT to publish")]
    Publish(String),
    /// This version does not have it yet.
    #[error("{0} is not in this version of httpjail")]
    Unsupported(&'static str),
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
            // What runs already could not be told to trust it.
            (config.ephemeral_ca, "--ephemeral-ca"),
        ] {
            if given {
                return Err(ConfigError::Conflict("attach", name));
            }
        }
        Ok(config)
    }

    fn of(args: Run, file: Option<ConfigFile<'_>>, command: Command) -> Result<Config, ConfigError> {
        let shared = args.shared;
        let mut rules = Vec::with_capacity(shared.rules.len());
        for (index, text) in shared.rules.into_iter().enumerate() {
            let rule = Rule::parse(&text, Source::Option(index + 1));
            rules.push(rule.map_err(|error| ConfigError::Rule(index + 1, text, error))?);
        }
        let (options, logging, mut warnings) = match file {
            None => Default::default(),
            Some(file) => {
                let parsed = yaml::parse(file.name, text_of(file)?)?;
                rules.extend(parsed.rules);
                (parsed.options, parsed.logging, parsed.warnings)
            }
        };

        let mode = match (shared.dry_run, shared.log_only) {
            (true, _) => Mode::DryRun,
            (_, true) => Mode::LogOnly,
            _ => match (options.dry_run.unwrap_or(false), options.log_only.unwrap_or(false)) {
                (true, true) => return Err(ConfigError::Conflict("dry-run", "log-only")),
                (true, false) => Mode::DryRun,
                (false, true) => Mode::LogOnly,
                (false, false) => Mode::Enforce,
            },
        };
        if options.log.is_some() && logging.file.is_some() {
            return Err(ConfigError::Conflict("log", "logging.file"));
        }
        if options.log_format.is_some() && logging.format.is_some() {
            return Err(ConfigError::Conflict("log-format", "logging.format"));
        }
        if options.weak == Some(true) && options.backend.is_some_and(|backend| backend != Backend::Weak) {
            return Err(ConfigError::Conflict("weak", "backend"));
        }
        let backend = match (args.weak, args.backend) {
            (true, _) => Backend::Weak,
            (false, Some(backend)) => backend,
            (false, None) if options.weak == Some(true) => Backend::Weak,
            (false, None) => options.backend.unwrap_or(Backend::Auto),
        };
        let dns = args.dns.or(options.dns).unwrap_or(DnsMode::Synthetic);
        let interactive = args.interactive || options.interactive.unwrap_or(false);
        let user = args.user.or(options.user);
        if backend == Backend::Weak {
            let both = [
                (user.is_some(), "--user in weak mode"),
                (dns != DnsMode::Synthetic, "--dns in weak mode"),
            ];
            if let Some((_, name)) = both.into_iter().find(|(asked, _)| *asked) {
                return Err(ConfigError::Unsupported(name));
            }
        }
        if let Some(name) = unsupported(backend, interactive) {
            return Err(ConfigError::Unsupported(name));
        }
        let publish = if args.publish.is_empty() {
            options.publish
        } else {
            args.publish
        };
        let publish = publish
            .iter()
            .map(|text| published(text))
            .collect::<Result<Vec<_>, _>>()?;
        for Publish { host, port } in &publish {
            if let Some(host) = host.filter(|host| !host.is_loopback()) {
                warnings.push(Warning {
                    message: format!(
                        "port {port} of the jail is published on {host}, where other machines may reach it"
                    ),
                    hint: Some(format!("--publish {port} is for this machine alone")),
                });
            }
        }

        let intercept_tls = !(shared.no_tls_intercept || options.no_tls_intercept.unwrap_or(false));
        let policy = Policy::new(rules);
        if mode != Mode::LogOnly {
            warnings.extend(lint::warnings(&policy));
            if !intercept_tls {
                warnings.extend(lint::unjudgeable_without_interception(&policy));
            }
        }
        let file_log = options.log.or(logging.file).map(PathBuf::from);
        Ok(Config {
            command,
            policy: Arc::new(policy),
            mode,
            intercept_tls,
            passthrough: Vec::new(),
            timeout: args.timeout.or(options.timeout),
            log: Log {
                target: shared.log.or(file_log).map_or(LogTarget::Stderr, LogTarget::File),
                format: shared
                    .log_format
                    .or(options.log_format)
                    .or(logging.format)
                    .unwrap_or(LogFormat::Text),
                quiet: shared.quiet,
            },
            verbosity: verbosity(shared.verbose).or(logging.level).unwrap_or(Level::Warn),
            user,
            allow_sockets: either(args.allow_socket, options.allow_socket),
            upstream_ca: either(shared.upstream_ca, options.upstream_ca),
            ephemeral_ca: shared.ephemeral_ca || options.ephemeral_ca.unwrap_or(false),
            backend,
            dns,
            publish,
            warnings,
        })
    }
}

impl ConfigError {
    /// What to write instead, where that can be told.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::NoCommand => Some("httpjail [OPTIONS] -- COMMAND [ARGS]".into()),
            ConfigError::Rule(_, text, error) => error.hint(text),
            ConfigError::File(error) => error.hint.clone(),
            ConfigError::Publish(_) => Some("a port from 1 to 65535; HOST is an address of this machine".into()),
            ConfigError::Conflict(..) => Some("keep one of them".into()),
            ConfigError::Open(_) => Some("leave --auth away, or listen on 127.0.0.1".into()),
            ConfigError::Unsupported(_) => Some("leave it away; the defaults are the safe ones".into()),
        }
    }
}

/// The first option that was asked for and that this version does not have.
fn unsupported(backend: Backend, interactive: bool) -> Option<&'static str> {
    match backend {
        Backend::Auto | Backend::Ebpf | Backend::Netns | Backend::Weak => {}
    }
    interactive.then_some("--interactive")
}

fn published(text: &str) -> Result<Publish, ConfigError> {
    let (host, port) = match (text.parse::<SocketAddr>(), text.strip_prefix("localhost:")) {
        (Ok(at), _) => (Some(at.ip()), Some(at.port())),
        (Err(_), Some(port)) => (None, port.parse().ok()),
        (Err(_), None) => (None, text.parse().ok()),
    };
    match port {
        Some(port) if port > 0 => Ok(Publish { host, port }),
        _ => Err(ConfigError::Publish(text.to_owned())),
    }
}

fn verbosity(count: u8) -> Option<Level> {
    match count {
        0 => None,
        1 => Some(Level::Info),
        2 => Some(Level::Debug),
        _ => Some(Level::Trace),
    }
}

/// What the command line lists, or else what the file lists.
fn either(typed: Vec<PathBuf>, file: Vec<String>) -> Vec<PathBuf> {
    if typed.is_empty() {
        file.into_iter().map(PathBuf::from).collect()
    } else {
        typed
    }
}

fn text_of(file: ConfigFile<'_>) -> Result<&str, FileError> {
    std::str::from_utf8(file.bytes).map_err(|error| {
        let before = &file.bytes[..error.valid_up_to()];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        FileError {
            file: file.name.into(),
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
            message: "the file is not UTF-8 text".into(),
            hint: None,
        }
    })
}

#[cfg(test)]
mod tests;
