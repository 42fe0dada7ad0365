//! The stages of a run in a jail: prepared, armed, running.

use std::io;
use std::rc::Rc;

use crate::backend::{self, Armed, Ended, Outcome, Prepared};
use crate::cli::args;
use crate::cli::compose::allowed_sockets;
use crate::cli::compose::log_file::LogReopener;
use crate::cli::compose::reload::Watcher;
use crate::cli::context::RunContext;
use crate::cli::run_stats::SharedFindings;
use crate::cli::safe_from::SafeFrom;
use crate::config::Purpose;
use crate::control::directory::ControlSocket;
use crate::failure::Failure;
use crate::jail::lifecycle::{self, Jail, SpawnError};
use crate::jail::process::approver::ApproverProcess;
use crate::jail::process::socket_maker::{Duty, SocketMaker, SocketServer};
use crate::jail::protocol::command::StartFailure;
use crate::jail::steering::select::{self, Refused};
use crate::jail::supervisor::policy_watch::PolicyWatch;
use crate::jail::supervisor::signals::Signals;
use crate::jail::supervisor::{End, Running};
use crate::logging;

/// What the stages hand on beside the jail itself. Dropped after it, in this order.
pub(super) struct RunParts {
    pub(super) approver: Option<ApproverProcess>,
    pub(super) socket_server: Option<SocketServer>,
    pub(super) findings: SharedFindings,
    pub(super) control_socket: Option<ControlSocket>,
    pub(super) signals: Signals,
    pub(super) unplaced: Vec<String>,
    /// The user whom the jail holds.
    pub(super) jailed: u32,
    pub(super) run: Rc<RunContext>,
}

pub(super) struct PreparedJail {
    pub(super) jail: Jail<lifecycle::Prepared>,
    pub(super) name: &'static str,
    pub(super) refused: Vec<Refused>,
    pub(super) parts: RunParts,
}

impl PreparedJail {
    pub(super) fn arm(self) -> Result<ArmedJail, Failure> {
        let PreparedJail {
            jail,
            name,
            refused,
            parts,
        } = self;
        let jail = jail.arm().map_err(|failure| select::explain(refused, name, failure))?;
        Ok(ArmedJail { jail, parts })
    }
}

impl Prepared for PreparedJail {
    fn arm(self: Box<Self>) -> Result<Box<dyn Armed>, Failure> {
        Ok(Box::new(PreparedJail::arm(*self)?))
    }
}

pub(super) struct ArmedJail {
    pub(super) jail: Jail<lifecycle::Armed>,
    pub(super) parts: RunParts,
}

impl ArmedJail {
    /// Says what this jail does not hold.
    pub(super) fn warn(&self) {
        let RunParts { run, unplaced, .. } = &self.parts;
        if !self.jail.holds_sockets() {
            warn_of(unplaced);
        }
        if self.jail.makes_connections() {
            allowed_sockets::warn_of_datagrams(&run.config, &run.caller.identity);
        }
        let warnings = self.jail.warnings().iter();
        warnings.for_each(|warning| logging::warn(warning, None));
    }
}

impl Armed for ArmedJail {
    fn notes(&self) -> Vec<String> {
        self.jail.notes().collect()
    }

    fn spawn(self: Box<Self>) -> Result<Box<dyn backend::Running>, Failure> {
        self.warn();
        let ArmedJail { jail, parts } = *self;
        let RunParts {
            approver,
            socket_server,
            findings,
            control_socket,
            signals,
            jailed,
            run,
            ..
        } = parts;
        // Before the command, which could move directories about.
        let log = LogReopener::new(&run.config, &run.caller.identity);
        // Before the command starts, and ended after it.
        let forwarder = match socket_server {
            Some(socket_server) => Some(
                socket_server
                    .open(Duty::Publish, jail.namespaces()?)
                    .map_err(|error| Failure::new(format!("cannot reach into the jail's network: {error}")))?,
            ),
            None => None,
        };
        let running = match jail.spawn(signals, approver) {
            Ok(running) => running,
            Err(SpawnError::Jail(failure)) => return Err(failure),
            Err(SpawnError::Command(reason)) => {
                let config = &run.config;
                let name = config.command.program.to_string_lossy().escape_debug().to_string();
                return Err(not_started(&name, args::meant_command(config), reason));
            }
        };
        Ok(Box::new(RunningJail {
            running,
            log,
            _forwarder: forwarder,
            _control_socket: control_socket,
            findings,
            jailed,
            run,
        }))
    }
}

struct RunningJail {
    /// Or how it ended before the command was started, by a signal.
    running: Result<Running, Outcome>,
    log: LogReopener,
    _forwarder: Option<SocketMaker>,
    _control_socket: Option<ControlSocket>,
    findings: SharedFindings,
    jailed: u32,
    run: Rc<RunContext>,
}

impl backend::Running for RunningJail {
    fn wait(self: Box<Self>) -> Result<Ended, Failure> {
        let RunningJail {
            running,
            log,
            _forwarder,
            _control_socket,
            findings,
            jailed,
            run,
        } = *self;
        let (config, caller) = (&run.config, &run.caller.identity);
        let running = match running {
            Ok(running) => running,
            Err(early) => {
                return Ok(Ended {
                    outcome: early,
                    findings: backend::RunFindings::default(),
                });
            }
        };
        let mut watcher = Watcher::new(config, SafeFrom::User(jailed), caller);
        let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn PolicyWatch);
        let (end, left) = running.wait(config.timeout, watch, &|| log.open(caller));
        left.iter()
            .for_each(|left| logging::warn(left, Some("the next run of httpjail removes it")));
        let outcome = outcome(end)?;
        let findings = match findings.read() {
            Ok(findings) => findings,
            // It had to be ended, or failed at its last: nothing hangs on it where nothing was to be found.
            Err(_) if config.purpose == Purpose::Work => backend::RunFindings::default(),
            Err(error) => return Err(Failure::new(format!("the proxy did not tell what it found: {error}"))),
        };
        Ok(Ended { outcome, findings })
    }
}

pub(super) fn outcome(end: End) -> Result<Outcome, Failure> {
    match end {
        End::Command(outcome) => {
            if outcome == Outcome::TimedOut {
                logging::warn(
                    "the time given by --timeout is up; the command's whole process tree was ended",
                    None,
                );
            }
            Ok(outcome)
        }
        End::Failed(message) => Err(Failure::new(format!("{message}; the jail was ended"))),
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

/// Why the command of this name did not start, with its exit status.
pub(super) fn not_started(name: &str, hint: Option<String>, reason: StartFailure) -> Failure {
    match reason {
        StartFailure::NotFound => Failure {
            message: format!("command not found: {name}"),
            hint: hint.or_else(|| std::env::var_os("SUDO_UID").map(|_| {
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
