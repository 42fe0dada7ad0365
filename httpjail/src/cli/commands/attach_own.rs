//! `httpjail attach` and `detach` without root: for a rootless container of the caller's own.

use std::path::Path;

use nix::unistd::Pid;

use crate::cli::compose::approval;
use crate::cli::compose::control::{self, About};
use crate::cli::compose::log_file::LogReopener;
use crate::cli::compose::proxy_parts::{session, upstream_authorities};
use crate::cli::compose::proxy_process::Task;
use crate::cli::compose::reload::Watcher;
use crate::cli::readiness;
use crate::cli::run_stats::SharedFindings;
use crate::cli::safe_from::SafeFrom;
use crate::config::Config;
use crate::config::options::UpstreamNetwork;
use crate::control::protocol::Kind;
use crate::failure::Failure;
use crate::jail::attach::rootless::Network;
use crate::jail::attach::{End, Place};
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::steering::Steering as _;
use crate::jail::supervisor::policy_watch::PolicyWatch;
use crate::jail::supervisor::signals::Signals;
use crate::logging;

/// Returns the network of what the command line names, if it can be held without root.
///
/// # Errors
/// When it is named and cannot.
pub(super) fn network(place: &Place) -> Option<Result<Network, Failure>> {
    match place {
        Place::Container(name) => Some(Network::of_container(name)),
        Place::Process(pid) => Some(Network::of(Pid::from_raw(*pid))),
        Place::Cgroup(_) | Place::Unit(_) => None,
    }
}

/// Holds it until a signal or its end. Returns httpjail's exit status.
///
/// # Errors
/// What failed; it is as it was before, unless the message says that it stays closed.
pub(super) fn attach(config: &Config, caller: &UserIdentity, place: &Place, mut held: Network) -> Result<u8, Failure> {
    only_with_root(config)?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    held.close(config.policy.names_loopback())?;
    let upstream_authorities = upstream_authorities(config, caller)?;
    let (_aide, questions) = approval::start_unheld(config, caller, SafeFrom::AllBut(caller.uid.as_raw()))?;
    let session = session();
    let about = About {
        kind: Kind::Attach,
        backend: Some(held.steering().name()),
        holds: place.to_string(),
        session: &session,
        home: &caller.home,
    };
    let (_control_socket, control) = control::open(config, about)?.unzip();
    let shared_findings = SharedFindings::new()?;
    let task = Task {
        config,
        caller,
        upstream_authorities,
        socket_client: None,
        leg: None,
        questions,
        among_others: false,
        older: Vec::new(),
        shared_findings: &shared_findings,
        session,
        control,
        steering: held.steering(),
    };
    let mut proxy_process = task.spawn(Vec::new())?;
    let log = LogReopener::new(config, caller);
    proxy_process.ready()?;
    held.arm(&proxy_process)?;
    announce(config, caller, place, &held);
    readiness::tell_or_warn("that it is attached");
    let mut watcher = Watcher::new(config, SafeFrom::AllBut(caller.uid.as_raw()), caller);
    let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn PolicyWatch);
    let end = held.watch(&proxy_process, &signals, watch, &|| log.open(caller));
    match &end {
        End::Failed(message) => {
            return Err(Failure {
                hint: Some(format!("httpjail detach --pid {}", held.first())),
                ..Failure::new(format!("{message}; the network of {place} stays closed"))
            });
        }
        End::Asked => {
            say(config, &format!("detaching from {place}: nothing holds it any more"));
            held.release()?;
        }
        End::Gone | End::Left => say(
            config,
            &format!("{place} is gone: when it is started again it is not held"),
        ),
    }
    if let Err(error) = proxy_process.finish(0, &|| log.open(caller)) {
        logging::warn(&error.to_string(), None);
    }
    Ok(0)
}

/// Opens what was left closed. Returns httpjail's exit status.
///
/// # Errors
/// When it is held yet, or cannot be entered.
pub(super) fn detach(place: &Place, held: Network) -> Result<u8, Failure> {
    held.release()?;
    logging::note(&format!("detached from {place}"));
    Ok(0)
}

fn only_with_root(config: &Config) -> Result<(), Failure> {
    let refused = |option: &str| Failure {
        hint: Some("sudo httpjail attach ..., or leave it away".into()),
        ..Failure::new(format!(
            "{option} needs root: without it, rules of the container's network hold it"
        ))
    };
    if !config.inbound.is_empty() {
        return Err(refused("--inbound"));
    }
    if config.upstream_network == UpstreamNetwork::Container {
        return Err(refused("--upstream-network container"));
    }
    Ok(())
}

fn announce(config: &Config, caller: &UserIdentity, place: &Place, held: &Network) {
    let authority = caller.config_dir().join("httpjail/ca.crt");
    say(
        config,
        &format!(
            "attached to the network of {place}: servers are reached by this host's, nobody reaches its published ports; ^C or SIGTERM \
             detaches; if httpjail is killed it stays closed until `httpjail detach --pid {}`",
            held.first()
        ),
    );
    if config.intercept_tls {
        say(
            config,
            &format!(
                "for HTTPS its processes must trust {}: start them with SSL_CERT_FILE, CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE, \
                 NODE_EXTRA_CA_CERTS or the like",
                Path::display(&authority)
            ),
        );
    }
}

fn say(config: &Config, text: &str) {
    if !config.log.quiet {
        logging::note(text);
    }
}
