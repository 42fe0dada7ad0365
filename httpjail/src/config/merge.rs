//! Merges the command line with the policy file: an option of the command line wins, and options that contradict each other
//! are an error.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::error::ConfigError;
use super::file::File;
use super::inbound;
use super::labels;
use super::options::{Backend, DnsMode, Level, LogFormat, UpstreamNetwork};
use super::overrides::{CommandLine, Overrides};
use super::publish;
use super::reload::Reload;
use super::typed_rules::typed_rules;
use super::types::{Approval, Command, Config, Log, LogTarget, Mode, Publish, Purpose, STDIN, Stream};
use crate::net::{HostPattern, Inbound, Scheme};
use crate::policy::{Policy, Target, Verdict, Warning, lint};

/// How long a request waits for approval by default.
const APPROVE_LIMIT: Duration = Duration::from_secs(60);

/// Makes the configuration of both.
pub(super) fn of(line: CommandLine, file: Option<File>, command: Command) -> Result<Config, ConfigError> {
    let mut rules = typed_rules(&line.rules)?;
    // Standard input can be neither read again nor written to.
    let named = line.config.filter(|path| path.as_os_str() != "-");
    let reload = file.as_ref().map(|file| Reload::new(&line.rules, file));
    let reload = reload.filter(|reload| reload.texts.first().is_none_or(|(path, _)| path.as_os_str() != STDIN));
    let file = file.unwrap_or_default();
    let set = line.options.or(set_by(&file)?);
    rules.extend(file.rules);

    let policy = Policy::new(rules);
    let mode = mode(&set)?;
    let backend = backend(&set);
    let dns = set.dns.unwrap_or(DnsMode::Synthetic);
    let approval = approval(&set, mode)?;
    if is_weak(backend) {
        refuse_what_needs_a_jail(&set, dns, &approval)?;
    }
    let publish: Vec<Publish> = set
        .publish
        .iter()
        .map(|text| publish::parse(text))
        .collect::<Result<_, _>>()?;
    let inbound: Vec<Inbound> = set
        .inbound
        .iter()
        .map(|text| inbound::parse(text))
        .collect::<Result<_, _>>()?;
    let intercept_tls = !set.no_tls_intercept.unwrap_or(false);
    let log = Log {
        target: set.log.map_or(LogTarget::Stderr, log_target),
        format: set.log_format.unwrap_or(LogFormat::Text),
        quiet: set.quiet.unwrap_or(false),
    };
    let mut warnings = file.warnings;
    warnings.extend(inbound.iter().filter_map(inbound::warning));
    warnings.extend(publish.iter().filter_map(publish::warning));
    if mode != Mode::LogOnly {
        warnings.extend(warnings_of(&policy, intercept_tls, &file.passthrough));
    }
    if set.log_format.is_some() && log.target == LogTarget::Stderr {
        warnings.push(Warning::new(
            "--log-format has no effect without a request log",
            "--log FILE writes one; --log /dev/stderr writes it there",
        ));
    }
    Ok(Config {
        command,
        name: set.name,
        labels: labels::parse(&set.labels)?,
        policy: Arc::new(policy),
        mode,
        purpose: Purpose::Work,
        summary: set.summary,
        intercept_tls,
        passthrough: file.passthrough,
        timeout: set.timeout,
        log,
        verbosity: set.level.or(set.verbose.and_then(verbosity)).unwrap_or(Level::Warn),
        user: set.user,
        allow_sockets: set.allow_socket,
        upstream_ca: set.upstream_ca,
        ephemeral_ca: set.ephemeral_ca.unwrap_or(false),
        backend,
        dns,
        limits: file.limits,
        publish,
        inbound,
        upstream_network: set.upstream_network.unwrap_or(UpstreamNetwork::Auto),
        file: named,
        approval,
        approve_timeout: set.approve_timeout.unwrap_or(APPROVE_LIMIT),
        reload,
        warnings,
    })
}

/// Returns what the file sets, with `logging:` merged into the options of the same meaning.
fn set_by(file: &File) -> Result<Overrides, ConfigError> {
    let (set, logging) = (file.options.clone(), file.logging.clone());
    let twice = [
        (set.log.is_some() && logging.file.is_some(), "log", "logging.file"),
        (
            set.log_format.is_some() && logging.format.is_some(),
            "log-format",
            "logging.format",
        ),
        (
            set.verbose.is_some() && logging.level.is_some(),
            "verbose",
            "logging.level",
        ),
        (
            set.weak == Some(true) && set.backend.is_some_and(|backend| backend != Backend::Weak),
            "weak",
            "backend",
        ),
    ];
    if let Some((_, one, other)) = twice.into_iter().find(|(wrong, ..)| *wrong) {
        return Err(ConfigError::Conflict(one, other));
    }
    Ok(Overrides {
        log: set.log.or(logging.file.map(PathBuf::from)),
        log_format: set.log_format.or(logging.format),
        level: logging.level,
        ..set
    })
}

fn mode(set: &Overrides) -> Result<Mode, ConfigError> {
    match (set.dry_run.unwrap_or(false), set.log_only.unwrap_or(false)) {
        (true, true) => Err(ConfigError::Conflict("dry-run", "log-only")),
        (true, false) => Ok(Mode::DryRun),
        (false, true) => Ok(Mode::LogOnly),
        (false, false) => Ok(Mode::Enforce),
    }
}

fn backend(set: &Overrides) -> Backend {
    match set.weak {
        Some(true) => Backend::Weak,
        _ => set.backend.unwrap_or(Backend::Auto),
    }
}

/// Returns true for weak mode, which is the default where there are no jails.
fn is_weak(backend: Backend) -> bool {
    backend == Backend::Weak || (backend == Backend::Auto && cfg!(not(target_os = "linux")))
}

/// Returns who decides on requests that no rule matches.
fn approval(set: &Overrides, mode: Mode) -> Result<Approval, ConfigError> {
    let approval = match (set.interactive.unwrap_or(false), &set.approve_with) {
        (true, Some(_)) => return Err(ConfigError::Conflict("interactive", "approve-with")),
        (true, None) => Approval::Terminal,
        (false, Some(program)) => Approval::Program(program.clone()),
        (false, None) => return Ok(Approval::Nobody),
    };
    if mode != Mode::Enforce {
        return Err(ConfigError::Conflict(
            "asking about requests",
            "letting all of them through",
        ));
    }
    Ok(approval)
}

fn refuse_what_needs_a_jail(set: &Overrides, dns: DnsMode, approval: &Approval) -> Result<(), ConfigError> {
    let of_jails = [
        (set.user.is_some(), "--user"),
        (dns != DnsMode::Synthetic, "--dns"),
        (*approval == Approval::Terminal, "--interactive"),
        (!set.publish.is_empty(), "--publish"),
        (!set.allow_socket.is_empty(), "--allow-socket"),
    ];
    match of_jails.into_iter().find(|(given, _)| *given) {
        Some((_, name)) => Err(ConfigError::OfJails(name)),
        None => Ok(()),
    }
}

fn warnings_of(policy: &Policy, intercept_tls: bool, passthrough: &[HostPattern]) -> Vec<Warning> {
    let mut warnings = lint::warnings(policy);
    if !intercept_tls {
        warnings.extend(lint::unjudgeable_without_interception(policy));
    }
    warnings.extend(passthrough.iter().filter_map(|host| unreachable(policy, host)));
    warnings
}

/// Warns of a host in `passthrough:` that no rule allows.
fn unreachable(policy: &Policy, listed: &HostPattern) -> Option<Warning> {
    let host = listed.only()?.to_string();
    let target = Target::new(&Method::CONNECT, Scheme::Https, &host, "/").ok()?;
    matches!(policy.judge(&target), Verdict::Deny(_)).then(|| Warning {
        message: format!("tls: passthrough: no rule allows `CONNECT https://{host}/`, which is all that is seen of it"),
        hint: Some(format!("a rule with `host: {host}` and without `path:` allows it")),
    })
}

/// Maps the names of standard output and error, because a log is not opened through links.
fn log_target(path: PathBuf) -> LogTarget {
    match path.to_str() {
        Some("-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => LogTarget::Stream(Stream::Stdout),
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => LogTarget::Stream(Stream::Stderr),
        _ => LogTarget::File(path),
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
