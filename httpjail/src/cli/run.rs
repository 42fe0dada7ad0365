//! `httpjail [OPTIONS] -- COMMAND`: the straight line from a configuration to the command's exit status.
//!
//! This is the supervisor: it composes the parts and never touches a byte that the jail sends.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use nix::sys::prctl;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::approval::{self, Holding, Questions};
use super::log_file::LogAgain;
use super::reload::{SafeFrom, Watcher};
use super::serve_jail::Task;
use super::tally::{Findings, Notebook};
use super::{allowed, environment, failure, keys, parts};
use crate::config::options::{Backend, DnsMode};
use crate::config::{Approval, Config, LogTarget, Purpose};
use crate::jail::backend::Extras;
use crate::jail::backend::hints;
use crate::jail::backend::select::{self, Choice, Refused, Selection, Wants};
use crate::jail::lifecycle::{Jail, SpawnError};
use crate::jail::process::command::{Command, StartFailure};
use crate::jail::process::init::Plan;
use crate::jail::process::port_forwarder::{self, Door};
use crate::jail::process::proxy::{Failure, Helper};
use crate::jail::process::working_directory::Workplace;
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::mounts::additions::Addition;
use crate::jail::sandbox::mounts::{self, Keeping, Kept, Overlay, View};
use crate::jail::sandbox::network::JAIL_V4;
use crate::jail::sandbox::rights;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::sandbox::stdio::Inherited;
use crate::jail::sandbox::user_identity::Identity;
use crate::jail::stale;
use crate::jail::supervisor::Outcome;
use crate::jail::supervisor::policy_watch::Watch;
use crate::jail::supervisor::signals::Signals;
use crate::logging;
use crate::tls::AuthorityFile;
use crate::tls::trust::{self, TrustPaths};

/// The jail's own names of the files laid into its view.
const BUNDLE: &str = "ca-bundle.crt";
const AUTHORITY: &str = "ca.crt";
const JAVA: &str = "cacerts";
/// A folder with the authority under the name by which OpenSSL looks for it.
const FOLDER: &str = "certs";

/// Runs the command in a jail. Returns httpjail's exit status, and what was found meanwhile.
///
/// # Errors
/// What failed before the command started; nothing is left of the jail then.
pub(super) fn run(config: &Config, caller: &Identity, inherited: Inherited) -> Result<(u8, Findings), Failure> {
    // Neither traced nor dumped by the user whose command it jails (without root it runs as that user).
    prctl::set_dumpable(false).map_err(|error| Failure::new(format!("cannot hide from tracing: {error}")))?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    let identity = match &config.user {
        Some(name) => Identity::named(name).map_err(|error| Failure {
            status: super::USAGE,
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
    let upstream_authorities = upstream_authorities(config, caller)?;
    allowed::check(config, caller)?;
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
            publish_mark: (!config.publish.is_empty()).then_some(port_forwarder::MARK),
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
    let (door, doorway) = match config.publish.is_empty() {
        true => (None, None),
        false => {
            let made = port_forwarder::pair().map_err(|error| Failure::new(format!("cannot make a line: {error}")))?;
            (Some(made.0), Some(made.1))
        }
    };
    let (aide, questions, deciders) = match approval::start(config, caller, holding)? {
        None => (None, None, Vec::new()),
        Some(Questions { aide, socket, held }) => (Some(aide), Some(socket), held),
    };
    if identity.uid.is_root() && !deciders.is_empty() && !config.log.quiet {
        logging::warn(
            "the command runs as root, and could change what the program that decides is made of",
            Some("--user NAME, or sudo from a user's account, runs it as a user"),
        );
    }
    let mut keep = backend.proxy_keeps();
    keep.extend(questions.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(door.as_ref().map(Door::descriptor));
    let notebook = Notebook::new().map_err(|error| Failure::new(format!("cannot make a notebook: {error}")))?;
    keep.push(notebook.descriptor());
    let task = Task {
        config,
        caller,
        upstream_authorities,
        among_others: false,
        older: Vec::new(),
        notebook: &notebook,
        session: parts::session(),
        backend: backend.as_ref(),
        door,
        questions,
    };
    let helper = Helper::spawn(&keep, move |line, user| task.run(line, user))
        .map_err(|error| Failure::new(format!("cannot fork the proxy: {error}")))?;
    let authority = helper.ready()?;

    let jailed = identity.uid;
    let plan = plan(config, caller, identity, &authority, outside, inherited, deciders)?;
    let jail = Jail::prepare(backend, helper, &plan).and_then(Jail::arm);
    let jail = jail.map_err(|failure| select::explain(refused, name, failure))?;
    jail.notes().for_each(|note| tracing::info!("{note}"));
    if !jail.holds_sockets() {
        warn_of(&unplaced);
    }
    if jail.makes_connections() {
        allowed::warn_of_datagrams(config, caller);
    }
    jail.warnings().iter().for_each(|warning| logging::warn(warning, None));
    // Before the command, which could move folders about.
    let log = LogAgain::new(config, caller);
    // Before the command starts, and ended after it: dropped with this function's other guards.
    let _doorman = match doorway {
        Some(doorway) => Some(
            doorway
                .open(jail.namespaces()?)
                .map_err(|error| Failure::new(format!("cannot reach into the jail's network: {error}")))?,
        ),
        None => None,
    };
    let running = match jail.spawn(signals, aide) {
        Ok(Ok(running)) => running,
        Ok(Err(early)) => return Ok((early.status(), Findings::default())),
        Err(SpawnError::Jail(failure)) => return Err(failure),
        Err(SpawnError::Command(reason)) => return Err(not_started(config, reason)),
    };
    let mut watcher = Watcher::new(config, SafeFrom::User(jailed.as_raw()), caller);
    let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn Watch);
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
    match notebook.read() {
        Ok(findings) => Ok((outcome.status(), findings)),
        // It had to be ended, or failed at its last: nothing hangs on it where nothing was to be found.
        Err(_) if config.purpose == Purpose::Work => Ok((outcome.status(), Findings::default())),
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

/// What init needs: the command, and the file system as the jail sees it.
fn plan(
    config: &Config,
    caller: &Identity,
    identity: Identity,
    authority: &str,
    outside: Outside,
    inherited: Inherited,
    deciders: Vec<PathBuf>,
) -> Result<Plan, Failure> {
    let place = place(caller)?;
    let in_jail = |name: &str| place.join(name).to_string_lossy().into_owned();
    let paths = TrustPaths {
        bundle: &in_jail(BUNDLE),
        ca: &in_jail(AUTHORITY),
        dir: Some(&in_jail(FOLDER)),
    };
    let trust = trust::environment(paths);
    let env = environment::build(std::env::vars_os(), &identity, trust, !config.allow_sockets.is_empty());
    let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(failure)?;
    let policies = trust::chromium_policies(Path::new("/")).into_iter();
    let view = View {
        place,
        overlays: overlays(authority, &certificate, caller)?,
        authority: authority.as_bytes().to_vec(),
        additions: policies
            .map(|(path, floor)| Addition {
                path,
                floor,
                content: trust::chromium_policy(&certificate),
            })
            .collect(),
        outside,
        hidden: keys::hidden(caller, &identity)?,
        kept: kept(config, caller, deciders),
        allowed: config.allow_sockets.clone(),
        own_terminals: config.approval == Approval::Terminal,
        owner: (identity.uid.as_raw(), identity.gid.as_raw()),
    };
    let mut argv = vec![config.command.program.clone()];
    argv.extend_from_slice(&config.command.args);
    let filter = Filter::compile().map_err(|error| Failure::new(error.to_string()))?;
    let tell: fn(&str) = if config.log.quiet {
        |_| ()
    } else {
        |text| logging::warn(text, None)
    };
    Ok(Plan {
        view,
        command: Command {
            argv,
            env,
            workplace: Workplace::inherited(&identity, tell),
            identity,
            pipes: inherited.pipes,
        },
        filter,
    })
}

/// The files that the jail sees in place of the host's: who to trust, whom to ask for names, and how.
fn overlays(authority: &str, certificate: &CertificateDer<'_>, caller: &Identity) -> Result<Vec<Overlay>, Failure> {
    let system = trust::existing_paths(Path::new("/"));
    let own = trust::inherited_bundles(|name| std::env::var_os(name));
    let sources: Vec<PathBuf> = system.iter().cloned().chain(own).collect();
    let bundle = trust::bundle(authority, &sources);
    bundle.notes.iter().for_each(|note| tracing::info!("{note}"));
    let hashed =
        trust::hashed_name(certificate).ok_or_else(|| Failure::new("the authority's certificate has no subject"))?;
    let resolver = format!("nameserver {JAIL_V4}\noptions edns0\n");
    let laid = |name: &str, content: Vec<u8>, covers| Overlay {
        name: name.to_owned(),
        content,
        covers,
    };
    let etc = |name: &str| vec![PathBuf::from("/etc").join(name)];
    let variable = |name| std::env::var_os(name);
    let stores = trust::java_stores(
        Path::new("/"),
        &caller.home,
        variable("JAVA_HOME").as_deref(),
        variable("PATH").as_deref(),
    );
    let java = (!stores.is_empty()).then(|| laid(JAVA, trust::java_keystore(&bundle.pem), stores));
    let mut files = vec![
        laid(BUNDLE, bundle.pem, system),
        laid(AUTHORITY, authority.as_bytes().to_vec(), Vec::new()),
        laid(&format!("{FOLDER}/{hashed}"), authority.as_bytes().to_vec(), Vec::new()),
        laid("resolv.conf", resolver.into_bytes(), etc("resolv.conf")),
        laid("nsswitch.conf", nsswitch().into_bytes(), etc("nsswitch.conf")),
    ];
    files.extend(java);
    Ok(files)
}

/// The host's nsswitch.conf with names asked of files and DNS alone: daemons that would ask for us are outside.
fn nsswitch() -> String {
    let own = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let others = own.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
    others
        .chain(["hosts: files dns"])
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The folder that the jail's own files are mounted on.
pub(super) fn place(caller: &Identity) -> Result<PathBuf, Failure> {
    mounts::place(&caller.config_dir().join("httpjail")).map_err(|error| Failure {
        hint: Some("have root make it once: mkdir -p -m 755 /run/httpjail".into()),
        ..Failure::new(format!(
            "no folder for the jail's own files: cannot make /run/httpjail: {error}"
        ))
    })
}

/// What httpjail runs, reads or writes for its owner while the command lives: the command must not be able to change it.
fn kept(config: &Config, caller: &Identity, deciders: Vec<PathBuf>) -> Vec<Kept> {
    let of = |path: &Path, how| {
        let path = caller.act(|| fs::canonicalize(path)).flatten().ok()?;
        let kind = fs::symlink_metadata(&path).ok()?.file_type();
        // Who reads a pipe takes what it says from its reader.
        let pipe = kind.is_fifo() && how == Keeping::Unseen;
        (kind.is_file() || pipe).then_some(Kept { path, how })
    };
    let log = match &config.log.target {
        LogTarget::File(path) => of(path, Keeping::Unseen),
        LogTarget::Stderr | LogTarget::Stream(_) => None,
    };
    let policies = config.reload.iter().flat_map(|reload| &reload.texts);
    let learnt = match &config.purpose {
        Purpose::Learn(learning) => Some(&learning.path),
        Purpose::Work | Purpose::Locked(_) => None,
    };
    let read = policies.map(|(path, _)| path).chain(learnt);
    let mut kept: Vec<Kept> = read.filter_map(|path| of(path, Keeping::ReadOnly)).collect();
    kept.extend(log);
    kept.extend(deciders.into_iter().map(|path| Kept {
        path,
        how: Keeping::InPlace,
    }));
    kept
}

/// The files of `--upstream-ca`, read with the caller's rights.
pub(super) fn upstream_authorities(config: &Config, caller: &Identity) -> Result<Vec<AuthorityFile>, Failure> {
    let read = |path: &PathBuf| {
        let bytes = caller.act(|| fs::read(path)).and_then(|read| read);
        let pem = bytes.map_err(|error| Failure {
            status: 2,
            ..Failure::new(format!("cannot read the authorities in {}: {error}", path.display()))
        })?;
        Ok(AuthorityFile {
            path: path.clone(),
            pem,
        })
    };
    config.upstream_ca.iter().map(read).collect()
}

fn not_started(config: &Config, reason: StartFailure) -> Failure {
    let name = config.command.program.to_string_lossy().escape_debug().to_string();
    match reason {
        StartFailure::NotFound => Failure {
            message: format!("command not found: {name}"),
            hint: super::args::meant_command(config).or_else(|| std::env::var_os("SUDO_UID").map(|_| {
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
