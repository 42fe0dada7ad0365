//! `httpjail [OPTIONS] -- COMMAND`: the straight line from a configuration to the command's exit status.
//!
//! This is the supervisor: it composes the parts and never touches a byte that the jail sends.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::prctl;

use crate::cli::args;
use crate::cli::compose::allowed_sockets;
use crate::cli::compose::approval::{self, Questions};
use crate::cli::compose::jail_plan;
use crate::cli::compose::log_file::LogAgain;
use crate::cli::compose::proxy_parts;
use crate::cli::compose::proxy_process::Task;
use crate::cli::compose::reload::Watcher;
use crate::cli::output::{USAGE, failure};
use crate::cli::run_stats::{RunFindings, SharedFindings};
use crate::cli::safe_from::{Holding, SafeFrom};
use crate::config::options::{Backend, DnsMode};
use crate::config::{Config, Purpose};
use crate::failure::Failure;
use crate::jail::lifecycle::{Jail, SpawnError};
use crate::jail::process::port_forwarder::{self, SocketClient};
use crate::jail::process::proxy::ProxyProcess;
use crate::jail::protocol::command::StartFailure;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::sandbox::stdio::Inherited;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::sandbox::{network, rights};
use crate::jail::stale;
use crate::jail::steering::Extras;
use crate::jail::steering::hints;
use crate::jail::steering::select::{self, Choice, Refused, Selection, Wants};
use crate::jail::supervisor::Outcome;
use crate::jail::supervisor::policy_watch::PolicyWatch;
use crate::jail::supervisor::signals::Signals;
use crate::logging;

/// Runs the command in a jail. Returns httpjail's exit status, and what was found meanwhile.
///
/// # Errors
/// What failed before the command started; nothing is left of the jail then.
pub(crate) fn run(config: &Config, caller: &UserIdentity, inherited: Inherited) -> Result<(u8, RunFindings), Failure> {
    // Neither traced nor dumped by the user whose command it jails (without root it runs as that user).
    prctl::set_dumpable(false).map_err(|error| Failure::new(format!("cannot hide from tracing: {error}")))?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    let identity = match &config.user {
        Some(name) => UserIdentity::named(name).map_err(|error| Failure {
            status: USAGE,
            ..failure(error)
        })?,
        None => caller.clone(),
    };
    if identity.switched && !rights::may_change_user() {
        return Err(Failure {
            hint: Some(hints::with_sudo()),
            ..Failure::new(format!("only root can run the command as {}", identity.name))
        });
    }
    let holding = Holding::Jail(SafeFrom::User(identity.uid.as_raw()));
    let upstream_authorities = proxy_parts::upstream_authorities(config, caller)?;
    allowed_sockets::check(config, caller)?;
    let mut outside = Outside::look().map_err(|error| {
        Failure::new(format!(
            "cannot list the host's Unix sockets in /proc/net/unix: {error}"
        ))
    })?;
    let unplaced = std::mem::take(&mut outside.unplaced);

    let wants = Wants {
        host_loopback: config.policy.names_loopback(),
        extras: Extras {
            asked_servers: config.dns == DnsMode::Open,
            publish_mark: (!config.publish.is_empty()).then_some(network::PUBLISH_MARK),
        },
    };
    let Selection { backend, refused } = select::select(choice(config.backend)?, wants)?;
    let name = backend.name();
    tracing::info!("the {name} backend steers");
    for Refused { backend, error } in &refused {
        tracing::info!("the {backend} backend does not work here: {error}");
    }
    if backend.cgroup().is_some() {
        stale::remove().iter().for_each(|left| logging::warn(left, None));
    }
    let (socket_client, socket_server) = match config.publish.is_empty() {
        true => (None, None),
        false => {
            let made = port_forwarder::pair().map_err(|error| Failure::new(format!("cannot make a line: {error}")))?;
            (Some(made.0), Some(made.1))
        }
    };
    let (approver, questions, deciders) = match approval::start(config, caller, holding)? {
        None => (None, None, Vec::new()),
        Some(Questions { approver, socket, held }) => (Some(approver), Some(socket), held),
    };
    if identity.uid.is_root() && !deciders.is_empty() && !config.log.quiet {
        logging::warn(
            "the command runs as root, and could change what the program that decides is made of",
            Some("--user NAME, or sudo from a user's account, runs it as a user"),
        );
    }
    let mut keep = backend.proxy_keeps();
    keep.extend(questions.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(socket_client.as_ref().map(SocketClient::descriptor));
    let shared_findings = SharedFindings::new()
        .map_err(|error| Failure::new(format!("cannot make memory to share with the proxy: {error}")))?;
    keep.push(shared_findings.descriptor());
    let task = Task {
        config,
        caller,
        upstream_authorities,
        among_others: false,
        older: Vec::new(),
        shared_findings: &shared_findings,
        session: proxy_parts::session(),
        steering: backend.as_ref(),
        socket_client,
        questions,
    };
    let proxy_process = ProxyProcess::spawn(&keep, move |line, user| task.run(line, user))
        .map_err(|error| Failure::new(format!("cannot fork the proxy: {error}")))?;
    let authority = proxy_process.ready()?;

    let jailed = identity.uid;
    let plan = jail_plan::plan(config, caller, identity, &authority, outside, inherited, deciders)?;
    let jail = Jail::prepare(backend, proxy_process, &plan).and_then(Jail::arm);
    let jail = jail.map_err(|failure| select::explain(refused, name, failure))?;
    jail.notes().for_each(|note| tracing::info!("{note}"));
    if !jail.holds_sockets() {
        warn_of(&unplaced);
    }
    if jail.makes_connections() {
        allowed_sockets::warn_of_datagrams(config, caller);
    }
    jail.warnings().iter().for_each(|warning| logging::warn(warning, None));
    // Before the command, which could move folders about.
    let log = LogAgain::new(config, caller);
    // Before the command starts, and ended after it: dropped with this function's other guards.
    let _forwarder = match socket_server {
        Some(socket_server) => Some(
            socket_server
                .open(jail.namespaces()?)
                .map_err(|error| Failure::new(format!("cannot reach into the jail's network: {error}")))?,
        ),
        None => None,
    };
    let running = match jail.spawn(signals, approver) {
        Ok(Ok(running)) => running,
        Ok(Err(early)) => return Ok((early.status(), RunFindings::default())),
        Err(SpawnError::Jail(failure)) => return Err(failure),
        Err(SpawnError::Command(reason)) => return Err(not_started(config, reason)),
    };
    let mut watcher = Watcher::new(config, SafeFrom::User(jailed.as_raw()), caller);
    let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn PolicyWatch);
    let (outcome, left) = running.wait(config.timeout, watch, &|| log.open());
    left.iter()
        .for_each(|left| logging::warn(left, Some("the next run of httpjail removes it")));
    match &outcome {
        Outcome::Failed(message) => return Err(Failure::new(format!("{message}; the jail was ended"))),
        Outcome::TimedOut => logging::warn(
            "the time given by --timeout is up; the command's whole process tree was ended",
            None,
        ),
        Outcome::Exited(_) | Outcome::Killed(_) => {}
    }
    match shared_findings.read() {
        Ok(findings) => Ok((outcome.status(), findings)),
        // It had to be ended, or failed at its last: nothing hangs on it where nothing was to be found.
        Err(_) if config.purpose == Purpose::Work => Ok((outcome.status(), RunFindings::default())),
        Err(error) => Err(Failure::new(format!("the proxy did not tell what it found: {error}"))),
    }
}

fn choice(backend: Backend) -> Result<Choice, Failure> {
    match backend {
        Backend::Auto => Ok(Choice::Auto),
        Backend::Ebpf => Ok(Choice::Ebpf),
        Backend::Netns => Ok(Choice::Netns),
        Backend::Weak => Err(Failure::new("weak mode makes no jail")),
    }
}

/// Where names are all that holds them: one line, for there may be many that have none.
fn warn_of(unplaced: &[String]) {
    let found = match unplaced {
        [] => String::new(),
        [one] => format!("; `{}` could not be found and covered", one.escape_debug()),
        [first, others @ ..] => format!(
            "; `{}` and {} more could not be found and covered",
            first.escape_debug(),
            others.len()
        ),
    };
    logging::warn(
        &format!(
            "Unix sockets of the host are held by name alone: one that is renamed, or made later, can be reached{found}"
        ),
        Some("httpjail doctor says why"),
    );
}

fn not_started(config: &Config, reason: StartFailure) -> Failure {
    let name = config.command.program.to_string_lossy().escape_debug().to_string();
    match reason {
        StartFailure::NotFound => Failure {
            message: format!("command not found: {name}"),
            hint: args::meant_command(config).or_else(|| std::env::var_os("SUDO_UID").map(|_| {
                format!("sudo replaces PATH by its secure_path: give the full path, or run `sudo env \"PATH=$PATH\" httpjail ... -- {name}`")
            })),
            status: 127,
        },
        StartFailure::NotExecutable(errno) => {
            let error = io::Error::from_raw_os_error(errno);
            Failure { message: format!("cannot execute {name}: {error}"), hint: None, status: 126 }
        }
        StartFailure::Jail(message) => Failure::new(format!("cannot start {name} in the jail: {message}")),
    }
}
