//! The command line and the policy file become one: what is typed wins over what the file says, and what cannot stand
//! together is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::{
    Approval, Command, Config, ConfigError, Log, LogTarget, Mode, Publish, Purpose, Reload, STDIN, Stream, limits,
};
use crate::cli::args::Run;
use crate::config::file::File;
use crate::config::options::{Backend, DnsMode, Level, LogFormat};
use crate::net::{HostPattern, Scheme};
use crate::policy::{Policy, Rule, Source, Target, Verdict, Warning, lint};

/// How long a request waits to be approved.
const APPROVE_LIMIT: Duration = Duration::from_secs(60);

impl Config {
    pub(super) fn of(args: Run, file: Option<File>, command: Command) -> Result<Config, ConfigError> {
        let shared = args.shared;
        let mut rules = typed_rules(&shared.rules)?;
        // What came from stdin is nowhere to be looked at again, nor written to.
        let named = shared.config.filter(|path| path.as_os_str() != "-");
        let reload = file.as_ref().map(|file| Reload::new(&shared.rules, file));
        let reload = reload.filter(|reload| reload.texts.first().is_none_or(|(path, _)| path.as_os_str() != STDIN));
        let (options, logging, bounds, passthrough, mut warnings) = match file {
            None => Default::default(),
            Some(file) => {
                rules.extend(file.rules);
                (file.options, file.logging, file.limits, file.passthrough, file.warnings)
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
        if options.verbose.is_some() && logging.level.is_some() {
            return Err(ConfigError::Conflict("verbose", "logging.level"));
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
        let publish = if args.publish.is_empty() {
            options.publish
        } else {
            args.publish
        };
        let allow_sockets = either(args.allow_socket, options.allow_socket);
        // Where there are no jails it is the default.
        let weak = backend == Backend::Weak || (backend == Backend::Auto && cfg!(not(target_os = "linux")));
        if weak {
            let of_jails = [
                (user.is_some(), "--user"),
                (dns != DnsMode::Synthetic, "--dns"),
                (approval == Approval::Terminal, "--interactive"),
                (!publish.is_empty(), "--publish"),
                (!allow_sockets.is_empty(), "--allow-socket"),
            ];
            if let Some((_, name)) = of_jails.into_iter().find(|(asked, _)| *asked) {
                return Err(ConfigError::OfJails(name));
            }
        }
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
            warnings.extend(passthrough.iter().filter_map(|host| unreachable(&policy, host)));
        }
        let file_log = options.log.or(logging.file).map(PathBuf::from);
        let target = shared.log.or(file_log).map_or(LogTarget::Stderr, log_target);
        let format = shared.log_format.or(options.log_format).or(logging.format);
        if format.is_some() && target == LogTarget::Stderr {
            warnings.push(Warning::new(
                "the form of the request log was given, and there is no log",
                "--log FILE writes one; --log /dev/stderr writes it there",
            ));
        }
        Ok(Config {
            command,
            policy: Arc::new(policy),
            mode,
            purpose: Purpose::Work,
            summary: shared.summary.or(options.summary),
            intercept_tls,
            passthrough,
            timeout: args.timeout.or(options.timeout),
            log: Log {
                target,
                format: format.unwrap_or(LogFormat::Text),
                quiet: shared.quiet || options.quiet.unwrap_or(false),
            },
            verbosity: verbosity(shared.verbose)
                .or(logging.level)
                .or(options.verbose.and_then(verbosity))
                .unwrap_or(Level::Warn),
            user,
            allow_sockets,
            upstream_ca: either(shared.upstream_ca, options.upstream_ca),
            ephemeral_ca: shared.ephemeral_ca || options.ephemeral_ca.unwrap_or(false),
            backend,
            dns,
            limits: limits::of(&bounds),
            publish,
            file: named,
            approval,
            approve_timeout: shared
                .approve_timeout
                .or(options.approve_timeout)
                .unwrap_or(APPROVE_LIMIT),
            reload,
            warnings,
        })
    }
}

/// Standard output and error have names of their own, for links are not followed to a log.
fn log_target(path: PathBuf) -> LogTarget {
    match path.to_str() {
        Some("-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => LogTarget::Stream(Stream::Stdout),
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => LogTarget::Stream(Stream::Stderr),
        _ => LogTarget::File(path),
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

/// The rules of `-r`.
///
/// # Errors
/// [`ConfigError::Rule`] for the first that is none.
pub(crate) fn typed_rules(texts: &[String]) -> Result<Vec<Rule>, ConfigError> {
    let rule = |(index, text): (usize, &String)| {
        let rule = Rule::parse(text, Source::Option(index + 1));
        rule.map_err(|error| ConfigError::Rule(index + 1, text.clone(), error))
    };
    texts.iter().enumerate().map(rule).collect()
}

/// A host whose TLS is to be passed through, and that no rule allows to be reached so.
fn unreachable(policy: &Policy, listed: &HostPattern) -> Option<Warning> {
    let host = listed.only()?.to_string();
    let target = Target::new(&Method::CONNECT, Scheme::Https, &host, "/").ok()?;
    matches!(policy.judge(&target), Verdict::Deny(_)).then(|| Warning {
        message: format!("tls: passthrough: no rule allows `CONNECT https://{host}/`, which is all that is seen of it"),
        hint: Some(format!("a rule with `host: {host}` and without `path:` allows it")),
    })
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
