//! The control socket of a run: made before anything is forked off, served by the process that judges.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use nix::unistd::geteuid;
use tokio::sync::{mpsc, oneshot};

use crate::cli::compose::reload::{Demand, InForce};
use crate::config::{Config, Mode};
use crate::control::directory::{self, ControlSocket};
use crate::control::protocol::{Kind, Loaded, Run, Status};
use crate::control::server::{self, Answers, Reloaded};
use crate::counts::Counts;
use crate::failure::Failure;
use crate::jail::protocol::proxy::{FromProxy, ProxyEnd};
use crate::jail::sandbox::run_dir;
use crate::jail::steering::cgroup::RunName;
use crate::sync::lock;

/// How much is told of a command.
const COMMAND_MAX: usize = 200;

/// What a run's socket tells of it.
pub(crate) struct About<'a> {
    pub(crate) kind: Kind,
    /// How it is steered, if it is.
    pub(crate) backend: Option<&'a str>,
    pub(crate) holds: String,
    pub(crate) session: &'a str,
    /// The home of the process's user.
    pub(crate) home: &'a Path,
}

/// A socket that listens, for the process that is to serve it.
pub(crate) struct ControlListener {
    listener: UnixListener,
    owner: u32,
    run: Run,
}

/// Makes the control socket of a run of this process. A run that can have none does without, unless it has a name.
///
/// # Errors
/// When a named run can have none, or another has that name.
pub(crate) fn open(config: &Config, about: About<'_>) -> Result<Option<(ControlSocket, ControlListener)>, Failure> {
    let name = match &config.name {
        Some(name) => name.clone(),
        None => RunName::own()
            .map_err(|error| Failure::new(error.to_string()))?
            .to_string(),
    };
    let owner = geteuid();
    let made = match owner.is_root() {
        true => run_dir::make_run_dir(),
        false => Ok(()),
    };
    let made = made.and_then(|()| ControlSocket::make(&directory::places(about.home), &name));
    let (socket, listener) = match made {
        Ok(made) => made,
        Err(error) if config.name.is_some() => return Err(not_named(&name, &error)),
        Err(error) => {
            tracing::info!("`httpjail list` does not show this run: cannot make a control socket: {error}");
            return Ok(None);
        }
    };
    let run = Run {
        name,
        labels: config.labels.clone(),
        kind: about.kind,
        pid: std::process::id(),
        started: format!("{:.3}", Timestamp::now()),
        session: about.session.to_owned(),
        backend: about.backend.map(str::to_owned),
        mode: mode(config.mode).to_owned(),
        holds: about.holds,
    };
    let owner = owner.as_raw();
    Ok(Some((socket, ControlListener { listener, owner, run })))
}

fn not_named(name: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AddrInUse {
        return Failure {
            hint: Some("`httpjail list` shows it".into()),
            ..Failure::new(format!("a run of the name {name} is under way"))
        };
    }
    Failure {
        hint: Some("without --name it runs without one".into()),
        ..Failure::new(format!("cannot make the control socket of {name}: {error}"))
    }
}

/// The command of a run, as far as it is told.
pub(crate) fn command(config: &Config) -> String {
    let words = std::iter::once(&config.command.program).chain(&config.command.args);
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ").chars().take(COMMAND_MAX).collect()
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::DryRun => "dry-run",
        Mode::LogOnly => "log-only",
        Mode::Learn => "learn",
    }
}

impl ControlListener {
    /// The descriptor, for a process that is forked to serve it.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Serves it, on the runtime that this is called on. `reloads` carries requests to look at the policy file.
    pub(crate) fn serve(
        self,
        in_force: Arc<InForce>,
        counts: impl Fn() -> Counts + Send + Sync + 'static,
        reloads: impl Reloads + 'static,
    ) {
        let answers = Told {
            run: self.run,
            in_force,
            counts: Box::new(counts),
            reloads,
        };
        let (listener, owner) = (self.listener, self.owner);
        tokio::spawn(async move {
            if let Err(error) = server::serve(listener, owner, Arc::new(answers)).await {
                tracing::warn!("the control socket is not served: {error}");
            }
        });
    }
}

/// Has the policy file looked at.
pub(crate) trait Reloads: Send + Sync {
    /// Begins to, and has `demand` told what came of it.
    fn begin(&self, demand: Demand);
}

struct Told<R> {
    run: Run,
    in_force: Arc<InForce>,
    counts: Box<dyn Fn() -> Counts + Send + Sync>,
    reloads: R,
}

impl<R: Reloads> Answers for Told<R> {
    fn status(&self) -> Status {
        Status {
            run: self.run.clone(),
            policy: self.in_force.state(),
        }
    }

    fn counts(&self) -> Counts {
        (self.counts)()
    }

    fn reload(&self) -> Reloaded {
        if !self.in_force.has_file() {
            return Box::pin(std::future::ready(Err("it has no policy file".to_owned())));
        }
        let (demand, became) = oneshot::channel();
        self.reloads.begin(demand);
        Box::pin(async {
            let became = became.await;
            became.unwrap_or_else(|_| Err("it ends, or is asked too often".to_owned()))
        })
    }
}

/// To who looks at the file in this process.
impl Reloads for mpsc::Sender<Demand> {
    fn begin(&self, demand: Demand) {
        // Dropped, it tells that it was too much.
        let _ = self.try_send(demand);
    }
}

/// To the supervisor, which may read the file.
#[derive(Debug)]
pub(crate) struct AskedSupervisor {
    line: Arc<ProxyEnd>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Demand>>,
}

impl AskedSupervisor {
    pub(crate) fn new(line: Arc<ProxyEnd>) -> Arc<AskedSupervisor> {
        Arc::new(AskedSupervisor {
            line,
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Tells what came of the request of this number.
    pub(crate) fn tell(&self, request_id: u64, became: Result<Loaded, String>) {
        if let Some(demand) = lock(&self.waiting).remove(&request_id) {
            // It may have stopped waiting.
            let _ = demand.send(became);
        }
    }
}

impl Reloads for Arc<AskedSupervisor> {
    fn begin(&self, demand: Demand) {
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut waiting = lock(&self.waiting);
        waiting.retain(|_, demand| !demand.is_closed());
        waiting.insert(request_id, demand);
        drop(waiting);
        let asked = self.clone();
        // Sending may wait for the supervisor.
        tokio::task::spawn_blocking(move || {
            let sent: io::Result<()> = asked.line.send(&FromProxy::Reload { request_id });
            if sent.is_err() {
                lock(&asked.waiting).remove(&request_id);
            }
        });
    }
}
