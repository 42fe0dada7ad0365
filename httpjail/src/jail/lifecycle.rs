//! The steps from namespaces to a running command.
//!
//! `Jail<Prepared>` has its namespaces and sockets. `Jail<Armed>` steers its traffic, and its self-test has proved it.
//! Only `Jail<Armed>` can start the command.

mod core_dumps;
mod guard_sockets;
mod pooled;

use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::backend::Outcome;
use crate::failure::Failure;
use crate::jail::process::approver::ApproverProcess;
use crate::jail::process::init::Plan;
use crate::jail::process::namespaces::{self, Sandbox};
use crate::jail::process::proxy::ProxyProcess;
use crate::jail::protocol::command::StartFailure;
use crate::jail::protocol::fd_passing;
use crate::jail::protocol::init::{InitReply, InitRequest};
use crate::jail::sandbox::{mounts, network};
use crate::jail::self_test;
use crate::jail::steering::{Steering, hints, select};
use crate::jail::supervisor::signals::Signals;
use crate::jail::supervisor::{self, Running};
use crate::jail::unix::SocketGuard;
use crate::net::Listeners;
use crate::sys::memory;

/// The state in which the namespaces exist and nothing is steered: all traffic of the jail is refused.
#[derive(Debug)]
pub(crate) struct Prepared;

/// The state in which the self-test has proved the steering.
#[derive(Debug)]
pub(crate) struct Armed;

/// A jail before its command runs. Dropping it in any state kills its processes and removes what it made.
pub(crate) struct Jail<State> {
    // Dropped in this order: the processes first, then what held them.
    sandbox: Sandbox,
    proxy_process: ProxyProcess,
    steering: Box<dyn Steering>,
    listeners: Listeners,
    notes: Vec<String>,
    /// The Unix sockets of the host that the command may reach (`--allow-socket`).
    allowed: Vec<PathBuf>,
    /// How all other Unix sockets are guarded, once that is chosen.
    sockets: Option<SocketGuard>,
    warnings: Vec<String>,
    state: PhantomData<State>,
}

impl Jail<Prepared> {
    /// Builds the namespaces, the jail's sockets in them, and the jail's view of the file system.
    ///
    /// # Errors
    /// The step that failed. What was built is removed.
    pub(crate) fn prepare(
        steering: Box<dyn Steering>,
        proxy_process: ProxyProcess,
        plan: &mut Plan,
    ) -> Result<Self, Failure> {
        Self::build(steering, proxy_process, plan).map_err(|failure| Failure {
            hint: failure.hint.or_else(|| hints::hint(&failure.message)),
            ..failure
        })
    }

    fn build(mut steering: Box<dyn Steering>, proxy_process: ProxyProcess, plan: &mut Plan) -> Result<Self, Failure> {
        let limited = core_dumps::limit();
        let sandbox = match Sandbox::build(plan, steering.cgroup(), steering.needs_cgroup()) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                let _ = steering.disarm();
                return Err(Failure::new(format!("cannot make the jail's namespaces: {error}")));
            }
        };
        let listeners = Listeners::default();
        let unheld = core_dumps::note(&limited).into_iter().chain(sandbox.note.clone());
        let warnings = unheld.collect();
        let mut jail = Jail {
            sandbox,
            proxy_process,
            steering,
            listeners,
            notes: Vec::new(),
            allowed: plan.view.allowed.clone(),
            sockets: None,
            warnings,
            state: PhantomData,
        };
        jail.connect()?;
        let user_namespace = jail.sandbox.user_namespace;
        jail.sandbox.request(&InitRequest::Arrange { user_namespace })?;
        match jail.sandbox.reply(select::ARRANGE)? {
            InitReply::Arranged(notes) => {
                let (lost, notes): (Vec<_>, Vec<_>) = notes
                    .into_iter()
                    .partition(|note| note.starts_with(mounts::NO_NAME_FOR));
                jail.warnings.extend(lost);
                jail.notes.extend(notes);
            }
            other => return Err(namespaces::unexpected(&other)),
        }
        Ok(jail)
    }

    /// Sets up the network namespace, from outside or by init from inside.
    fn connect(&mut self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot set up the jail's network namespace: {error}"));
        let Some(inside) = self.steering.inside() else {
            let namespaces = self.hand_out(false)?;
            let namespace = namespaces
                .first()
                .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            let listeners = network::within_namespace(namespace, || network::listen(network::raise_loopback()?));
            self.listeners = listeners.map_err(failed)?;
            return Ok(());
        };
        self.sandbox.request(&InitRequest::Connect(inside))?;
        match self.sandbox.reply_with("set up its network")? {
            (InitReply::Connected { counts, note }, sockets) => {
                self.listeners = fd_passing::unpack(counts, sockets).map_err(failed)?;
                self.notes.push(note);
                Ok(())
            }
            (other, _) => Err(namespaces::unexpected(&other)),
        }
    }

    /// Steers the jail's traffic, and runs the self-test from inside.
    ///
    /// # Errors
    /// The step that failed, or what the self-test found. The jail is removed.
    pub(crate) fn arm(mut self) -> Result<Jail<Armed>, Failure> {
        let armed = self.steering.arm(&self.listeners);
        armed.map_err(|error| Failure {
            hint: error.hint.clone(),
            ..Failure::new(error.message)
        })?;
        self.sandbox.request(&InitRequest::Probe {
            ipv6: self.listeners.proxy.len() > 1,
        })?;
        let wrong = match self.sandbox.reply("probe the steering")? {
            InitReply::Probed(wrong) => wrong,
            other => return Err(namespaces::unexpected(&other)),
        };
        let flows = self.steering.original_dst(&self.listeners)?;
        let seen = self_test::witness(&self.listeners, flows.as_ref());
        let wrong: Vec<String> = wrong
            .into_iter()
            .chain(seen.err().map(|error| error.to_string()))
            .collect();
        if !wrong.is_empty() {
            let message = format!(
                "the jail's self-test failed, so the command was not started: {}",
                wrong.join("; ")
            );
            let hint = "another program may be attached above the jail's cgroup, or the BPF object is not httpjail's";
            return Err(Failure {
                hint: self.steering.needs_cgroup().then(|| hint.into()),
                ..Failure::new(message)
            });
        }
        let sockets = guard_sockets::strongest(&self.sandbox, &self.allowed)?;
        let Jail {
            sandbox,
            proxy_process,
            steering,
            listeners,
            notes,
            allowed,
            warnings,
            ..
        } = self;
        Ok(Jail {
            sandbox,
            proxy_process,
            steering,
            listeners,
            notes,
            allowed,
            sockets: Some(sockets),
            warnings,
            state: PhantomData,
        })
    }
}

impl Jail<Armed> {
    /// Lets the proxy serve the jail's sockets, and starts the command.
    ///
    /// # Errors
    /// The step that failed. The jail is removed. A signal that arrived meanwhile is the outcome, not an error.
    pub(crate) fn spawn(
        mut self,
        signals: Signals,
        mut approver: Option<ApproverProcess>,
    ) -> Result<Result<Running, Outcome>, SpawnError> {
        self.proxy_process.serve(std::mem::take(&mut self.listeners))?;
        let early = signals
            .ending()
            .map_err(|error| Failure::new(format!("cannot read the signals: {error}")))?;
        if let Some(signal) = early {
            return Ok(Err(Outcome::Killed(signal as i32)));
        }
        let own_terminal = match approver.as_mut().filter(|approver| approver.holds_terminal()) {
            Some(approver) => {
                approver.hand_over(&self.terminal()?)?;
                true
            }
            None => false,
        };
        let foreground = own_terminal || supervisor::wants_foreground();
        self.start_command(foreground)?;
        // What only the start needed.
        memory::give_back();
        Ok(Ok(Running::new(
            self.sandbox,
            self.proxy_process,
            self.steering,
            self.sockets,
            signals,
            approver,
            foreground && !own_terminal,
        )))
    }
}

impl Jail<Armed> {
    /// Has init fork the command.
    fn start_command(&self, foreground: bool) -> Result<(), SpawnError> {
        let notify = self.makes_connections().then(|| self.sandbox.notify());
        self.sandbox.request(&InitRequest::Run { foreground, notify })?;
        match self.sandbox.reply("start the command")? {
            InitReply::Started => Ok(()),
            InitReply::NotStarted(failure) => Err(SpawnError::Command(failure)),
            other => Err(namespaces::unexpected(&other).into()),
        }
    }

    /// Has init make a terminal in the jail and lead its session. Returns the outer end.
    fn terminal(&self) -> Result<OwnedFd, Failure> {
        self.sandbox.request(&InitRequest::MakeTerminal)?;
        match self.sandbox.reply_with("make a terminal")? {
            (InitReply::Terminal, mut master) if master.len() == 1 => Ok(master.remove(0)),
            (other, _) => Err(namespaces::unexpected(&other)),
        }
    }
}

impl<State> Jail<State> {
    /// Returns true if Unix sockets of the host are out of reach whatever their names.
    pub(crate) fn holds_sockets(&self) -> bool {
        self.sockets.as_ref().is_some_and(SocketGuard::by_identity)
    }

    /// Returns true if init makes the jail's connections to Unix sockets, so that there are no datagram sockets.
    pub(crate) fn makes_connections(&self) -> bool {
        matches!(self.sockets, Some(SocketGuard::Notify { .. }))
    }

    /// Returns how the jail is made, and which unimportant steps failed, for `-v`.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        let user = if self.sandbox.user_namespace { "with" } else { "without" };
        let first = format!("steered by {}, {user} a user namespace", self.steering.name());
        let sockets = self.sockets.iter().map(SocketGuard::to_string);
        let of_proxy = self.proxy_process.note().map(str::to_owned);
        let notes = std::iter::once(first).chain(sockets);
        notes.chain(self.notes.iter().cloned()).chain(of_proxy)
    }

    /// Returns what this jail cannot hold because this host lacks something.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns what a process must enter to make sockets of the jail's network, in this order: the user namespace, if
    /// there is one, and the network namespace.
    ///
    /// # Errors
    /// When init cannot pass them out.
    pub(crate) fn namespaces(&self) -> Result<Vec<OwnedFd>, Failure> {
        self.hand_out(self.sandbox.user_namespace)
    }

    fn hand_out(&self, user_namespace: bool) -> Result<Vec<OwnedFd>, Failure> {
        self.sandbox.request(&InitRequest::Open { user_namespace })?;
        match self.sandbox.reply_with("hand out its namespaces")? {
            (InitReply::Opened, namespaces) => Ok(namespaces),
            (other, _) => Err(namespaces::unexpected(&other)),
        }
    }
}

/// Why the command did not start.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// httpjail failed.
    Jail(Failure),
    /// The command itself cannot be run.
    Command(StartFailure),
}

impl From<Failure> for SpawnError {
    fn from(failure: Failure) -> Self {
        SpawnError::Jail(failure)
    }
}
