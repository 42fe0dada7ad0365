//! `httpjail attach`: holding what already runs, from outside.
//!
//! The straight line is that of `run`, with a cgroup that is there in place of a jail of our own: close it, start the proxy's
//! process, steer, and watch.

use std::io;
use std::path::{Path, PathBuf};

use super::attach_own;
use crate::cli::args;
use crate::cli::born;
use crate::cli::compose::approval;
use crate::cli::compose::container_network::{ContainerLeg, Entrance};
use crate::cli::compose::container_trust;
use crate::cli::compose::control::{self, About};
use crate::cli::compose::log_file::LogReopener;
use crate::cli::compose::proxy_parts::{session, upstream_authorities};
use crate::cli::compose::proxy_process::Task;
use crate::cli::compose::reload::Watcher;
use crate::cli::readiness;
use crate::cli::run_stats::SharedFindings;
use crate::cli::safe_from::SafeFrom;
use crate::config::Config;
use crate::control::protocol::Kind;
use crate::failure::Failure;
use crate::jail::attach::{self, Attachment, Closing, End, Laid, Place, Standby, Target};
use crate::jail::sandbox::rights;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::stale;
use crate::jail::steering::hints;
use crate::jail::steering::{Extras, Steering as _};
use crate::jail::supervisor::policy_watch::PolicyWatch;
use crate::jail::supervisor::signals::Signals;
use crate::logging;

/// Returns what the command line names.
pub(crate) fn named(place: args::Place) -> Option<Place> {
    let cgroup = place.cgroup.map(Place::Cgroup);
    let other = place.container.map(Place::Container).or(place.unit.map(Place::Unit));
    cgroup.or(other).or(place.pid.map(Place::Process))
}

/// Holds the cgroup until a signal or its end; a container or a unit also when it is started again. Returns httpjail's exit status.
///
/// # Errors
/// What failed; the cgroup is as it was before, unless the message says that it stays closed.
pub(crate) fn attach(config: &Config, caller: &UserIdentity, place: &Place) -> Result<u8, Failure> {
    if let Some(own) = attach_own::network(place).filter(|_| !rights::missing_for_programs().is_empty()) {
        return attach_own::attach(config, caller, place, own?);
    }
    needs_root("attach")?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    let first = closing(config, None);
    let mut attachment = Attachment::close(Target::open(&place.find()?)?, first, &|text| say(config, text))?;
    let mut again = false;
    loop {
        let held = (attachment.target().path().to_owned(), attachment.target().id());
        let standby = match hold(config, caller, place, attachment, &signals) {
            Ok(None) => return Ok(0),
            Ok(Some(standby)) => standby,
            Err(failure) if again => next_after(failure, &held)?,
            Err(failure) => return Err(failure),
        };
        let Some(next) = next(config, place, &held.0, standby, &signals)? else {
            say(config, &format!("waiting no more for {place}"));
            return Ok(0);
        };
        (attachment, again) = (next, true);
    }
}

/// Waits for the next cgroup at that place, and closes it. Returns `None` if a signal asks to end.
fn next(
    config: &Config,
    place: &Place,
    path: &Path,
    mut standby: Standby,
    signals: &Signals,
) -> Result<Option<Attachment>, Failure> {
    loop {
        say(
            config,
            &format!(
                "{} is gone; {place} is held as soon as it is started again",
                path.display()
            ),
        );
        let Some(target) = standby.wait(&place.to_string(), signals)? else {
            return Ok(None);
        };
        let held = (path.to_owned(), target.id());
        match Attachment::close(target, closing(config, Some(&mut standby)), &|text| say(config, text)) {
            Ok(attachment) => return Ok(Some(attachment)),
            Err(failure) => standby = next_after(failure, &held)?,
        }
    }
}

/// What ended while it was being attached to is waited for again: something may start it until it lives.
fn next_after(failure: Failure, (path, id): &(PathBuf, u64)) -> Result<Standby, Failure> {
    if attach::is_at(path, *id) {
        return Err(stays_closed(path, failure));
    }
    logging::warn(&failure.to_string(), failure.hint.as_deref());
    Standby::new(path)
}

fn closing(config: &Config, standby: Option<&mut Standby>) -> Closing {
    Closing {
        host_loopback: config.policy.names_loopback(),
        again: standby.is_some(),
        born: born::directory().is_some(),
        programs: standby.and_then(Standby::take),
    }
}

/// What a failure leaves of one that was started again.
fn stays_closed(path: &Path, failure: Failure) -> Failure {
    if failure.message.ends_with("stays closed") {
        return failure;
    }
    Failure {
        hint: failure
            .hint
            .or_else(|| Some(format!("httpjail detach --cgroup {}", path.display()))),
        message: format!("{}; {} stays closed", failure.message, path.display()),
        ..failure
    }
}

/// Holds a cgroup that is closed. Returns what waits for the next, if it is gone and that is wanted.
fn hold(
    config: &Config,
    caller: &UserIdentity,
    place: &Place,
    mut attachment: Attachment,
    signals: &Signals,
) -> Result<Option<Standby>, Failure> {
    let upstream_authorities = upstream_authorities(config, caller)?;
    if let Some(sandbox) = born::sandbox()? {
        attachment.end_with(sandbox);
    }
    if matches!(place, Place::Container(_)) {
        attachment.target().holds_container(attachment.closed_network())?;
    }
    // Closed first: what dead runs left keeps it open not a moment longer.
    stale::remove().iter().for_each(|left| logging::warn(left, None));
    attachment.want(Extras {
        // So that the resolver knows its clients from others.
        asked_servers: true,
        publish_mark: None,
    })?;
    let let_in = attachment.let_in(&config.inbound);
    let_in.map_err(|error| Failure::new(format!("cannot let the peers of --inbound in: {error}")))?;
    let (leg, entrance) = ContainerLeg::wanted(config, &attachment)?.unzip();
    // Who is in the cgroup is not known beforehand.
    let (_aide, questions) = approval::start_unheld(config, caller, SafeFrom::AllBut(0))?;
    let shared_findings = SharedFindings::new()?;
    let session = session();
    let about = About {
        kind: Kind::Attach,
        backend: Some(attachment.steering().name()),
        holds: place.to_string(),
        session: &session,
        home: &caller.home,
    };
    let (_control_socket, control) = control::open(config, about)?.unzip();
    let task = Task {
        config,
        caller,
        upstream_authorities,
        socket_client: None,
        leg,
        questions,
        among_others: true,
        older: attachment.preexisting().to_vec(),
        shared_findings: &shared_findings,
        session,
        control,
        steering: attachment.steering(),
    };
    let mut proxy_process = task.spawn(attachment.keeps())?;
    let maker = entrance.map(Entrance::open).transpose()?;
    let log = LogReopener::new(config, caller);
    let authority = proxy_process.ready()?;
    let trusting = config
        .intercept_tls
        .then(|| attachment.lay(&|| container_trust::look(&authority)));
    attachment.arm(&proxy_process)?;
    let path = attachment.target().path().display().to_string();
    announce(config, &attachment, &path);
    if maker.is_some() {
        say(
            config,
            "servers are reached by the network of its processes, with its name servers (--upstream-network host: by this host's)",
        );
    }
    if let Some(trusting) = trusting {
        announce_trust(config, caller, trusting);
    }
    readiness::tell_or_warn("that it is attached");

    // Who is in the cgroup is not known beforehand: nobody but root may be able to write the file.
    let mut watcher = Watcher::new(config, SafeFrom::AllBut(0), caller);
    let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn PolicyWatch);
    let standby = place
        .is_followed()
        .then(|| Standby::new(attachment.target().path()))
        .transpose();
    let standby = standby.unwrap_or_else(|failure| {
        logging::warn(
            &format!("when {place} is started again it is not held: {failure}"),
            None,
        );
        None
    });
    let end = attachment.watch(
        &proxy_process,
        maker.as_ref(),
        standby.as_ref(),
        signals,
        watch,
        &|| log.open(caller),
    );
    match &end {
        End::Failed(message) => {
            return Err(Failure {
                hint: Some(format!("httpjail detach --cgroup {path}")),
                ..Failure::new(format!("{message}; {path} stays closed"))
            });
        }
        End::Asked => say(
            config,
            &format!("detaching from {path}: nothing holds its processes any more"),
        ),
        End::Gone if standby.is_some() => {}
        End::Left => say(config, &format!("the sandbox of the pod {path} is gone")),
        End::Gone => say(
            config,
            &format!("{path} is gone: a cgroup that is made there from now on is not held"),
        ),
    }
    if end != End::Left {
        attachment.detach()?;
    } else if attachment.leave()? {
        say(config, &format!("{path} stays closed: it has processes yet"));
    }
    if let Err(error) = proxy_process.finish(0, &|| log.open(caller)) {
        logging::warn(&error.to_string(), None);
    }
    Ok(standby.filter(|_| end == End::Gone))
}

/// Said before anything is tried: what fails without root is a file that says little.
pub(super) fn needs_root(what: &str) -> Result<(), Failure> {
    let missing = rights::missing_for_programs();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure {
        hint: Some(hints::with_sudo()),
        ..Failure::new(format!("{what} needs root (missing: {})", missing.join(", ")))
    })
}

/// What whoever attaches should know, now that it holds.
fn announce(config: &Config, attachment: &Attachment, path: &str) {
    let target = attachment.target();
    let processes = target.processes().unwrap_or_default();
    let older = attachment.preexisting().len();
    say(
        config,
        &format!(
            "attached to {path}: {} processes, {older} sockets older than that are cut; ^C or SIGTERM detaches; if httpjail \
             is killed it stays closed until `httpjail detach --cgroup {path}`",
            processes.len()
        ),
    );
    // What an OCI runtime is about to start is not what is there now.
    if born::directory().is_none() {
        for doubt in target.doubts(attachment.closed_network()) {
            logging::warn(&doubt.text, Some(doubt.hint));
        }
    }
    if !attach::is_lasting() {
        logging::warn(
            "this mount namespace is not that of process 1: when it ends, the attachment ends with it",
            None,
        );
    }
}

/// By what the processes trust the authority, and what that leaves.
fn announce_trust(config: &Config, caller: &UserIdentity, laid: io::Result<Vec<Laid>>) {
    let authority = caller.config_dir().join("httpjail/ca.crt");
    let authority = authority.display();
    let laid = laid.unwrap_or_else(|error| {
        logging::warn(
            &format!("cannot lay a bundle over those of its processes: {error}"),
            None,
        );
        Vec::new()
    });
    for missing in laid.iter().flat_map(|laid| &laid.missing) {
        logging::warn(
            &format!("cannot be covered by a bundle with the authority: {missing}"),
            None,
        );
    }
    let mut covered: Vec<String> = laid
        .iter()
        .flat_map(|laid| &laid.covered)
        .map(|path| path.display().to_string())
        .collect();
    covered.dedup();
    let text = if covered.is_empty() {
        format!(
            "for HTTPS its processes must trust {authority}: add it to their bundle, or start them with \
             SSL_CERT_FILE, CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE, NODE_EXTRA_CA_CERTS or the like"
        )
    } else {
        format!(
            "until it is detached from, its processes see {authority} in {}; a program that has read these before, or brings roots of its \
             own (node, Python's certifi), must be started with them: NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE or the like",
            covered.join(", ")
        )
    };
    say(config, &text);
}

fn say(config: &Config, text: &str) {
    if !config.log.quiet {
        logging::note(text);
    }
}
