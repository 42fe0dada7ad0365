//! The command line and the policy file become one: what is typed wins over what the file says, and what cannot stand
//! together is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Approval, Command, Config, ConfigError, ConfigFile, Log, LogTarget, Mode, Publish};
use crate::cli::args::Run;
use crate::policy::yaml::{self, Backend, DnsMode, FileError, Level, LogFormat};
use crate::policy::{Policy, Rule, Source, Warning, lint};

/// How long a request waits to be approved.
const APPROVE_LIMIT: Duration = Duration::from_secs(60);

impl Config {
    pub(super) fn of(args: Run, file: Option<ConfigFile<'_>>, command: Command) -> Result<Config, ConfigError> {
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
        let approval = approval(
            args.interactive,
            shared.approve_with,
            options.interactive.unwrap_or(false),
            options.approve_with,
        )?;
        if approval != Approval::Nobody && mode != Mode::Enforce {
            return Err(ConfigError::Conflict(
                "asking about requests",
                "letting all of them through",
            ));
        }
        let user = args.user.or(options.user);
        if backend == Backend::Weak {
            let both = [
                (user.is_some(), "--user in weak mode"),
                (dns != DnsMode::Synthetic, "--dns in weak mode"),
                (approval == Approval::Terminal, "--interactive in weak mode"),
            ];
            if let Some((_, name)) = both.into_iter().find(|(asked, _)| *asked) {
                return Err(ConfigError::Unsupported(name));
            }
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
            file: shared.config,
            approval,
            approve_timeout: shared
                .approve_timeout
                .or(options.approve_timeout)
                .unwrap_or(APPROVE_LIMIT),
            warnings,
        })
    }
}

/// Who is asked. The command line wins over the file.
fn approval(
    interactive: bool,
    program: Option<String>,
    file_interactive: bool,
    file_program: Option<String>,
) -> Result<Approval, ConfigError> {
    match (interactive, program, file_interactive, file_program) {
        (true, Some(_), ..) | (false, None, true, Some(_)) => Err(ConfigError::Conflict("interactive", "approve-with")),
        (true, None, ..) | (false, None, true, None) => Ok(Approval::Terminal),
        (false, Some(program), ..) | (false, None, false, Some(program)) => Ok(Approval::Program(program)),
        (false, None, false, None) => Ok(Approval::Nobody),
    }
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
