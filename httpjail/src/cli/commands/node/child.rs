//! A child of the node: what it is wanted for, and its process, if it has one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, User};

use super::source::{Source, check_policy};
use super::state::Record;
use crate::cli::commands::runtime::hook::{PASSED, PATH};
use crate::cli::readiness;
use crate::failure::Failure;
use crate::jail::attach::{Place, Target};
use crate::jail::protocol::channel::wait_readable;
use crate::sys::clone;

/// The first pause before a child is started again; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// A child that has held for so long begins anew with the pauses.
const LASTING: Duration = Duration::from_secs(60);

/// What a child is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Names it among all children: what it holds.
    pub key: String,
    /// Names it in messages.
    pub title: String,
    /// What follows `httpjail` on its command line.
    pub arguments: Vec<OsString>,
    /// A policy that root alone must have written.
    pub policy: Option<PathBuf>,
    /// What it holds.
    pub holds: Holds,
}

impl Wanted {
    /// What a child was wanted for by an earlier node.
    pub(super) fn of_nothing(record: &Record) -> Wanted {
        let (path, id) = record.cgroup.clone().unwrap_or_default();
        Wanted {
            key: record.key.clone(),
            title: path.display().to_string(),
            arguments: record.arguments(),
            policy: None,
            holds: Holds::Cgroup(path, id),
        }
    }

    /// Returns true if it is for the cgroup of this id.
    pub(super) fn holds_cgroup(&self, id: u64) -> bool {
        match &self.holds {
            Holds::Cgroup(_, own) => *own == id,
            Holds::Place(place) => place
                .find()
                .and_then(|path| Target::open(&path))
                .is_ok_and(|target| target.id() == id),
        }
    }
}

/// What a child holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// A cgroup, by path and id.
    Cgroup(PathBuf, u64),
    /// What has a cgroup as long as it runs, and another one when it is started again.
    Place(Place),
}

/// What becomes of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is started as soon as it can be, but not before.
    Due(Instant),
    /// Started.
    Starting(Instant),
    /// It has told that it holds.
    Holding(Instant),
    /// It is wanted no more.
    Leaving,
}

/// A child of the node.
pub(super) struct Child {
    pub wanted: Wanted,
    pub state: State,
    process: Option<Process>,
    failures: u32,
    /// The cgroup that it holds, or is about to.
    pub cgroup: Option<(PathBuf, u64)>,
    /// Whether that, or one above it, has been closed.
    pub closed: bool,
    /// Since when there are processes in that.
    pub populated: Option<Instant>,
    /// What was said of it last.
    said: String,
}

struct Process {
    ended: OwnedFd,
    record: Record,
}

impl Child {
    /// A child that is to be started.
    pub(super) fn new(wanted: Wanted) -> Child {
        let cgroup = match &wanted.holds {
            Holds::Cgroup(path, id) => Some((path.clone(), *id)),
            Holds::Place(_) => None,
        };
        Child {
            wanted,
            state: State::Due(Instant::now()),
            process: None,
            failures: 0,
            cgroup,
            closed: false,
            populated: None,
            said: String::new(),
        }
    }

    /// A child that an earlier node has started. `None` if it has ended.
    pub(super) fn adopt(wanted: Wanted, record: Record) -> Option<Child> {
        let ended = clone::pidfd(Pid::from_raw(record.pid)).ok()?;
        // The descriptor is open: if the record still fits, it is that process's.
        record.lives().then(|| Child {
            state: State::Holding(Instant::now()),
            cgroup: record.cgroup.clone(),
            process: Some(Process { ended, record }),
            ..Child::new(wanted)
        })
    }

    /// Returns the descriptor that becomes readable when its process ends.
    pub(super) fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|process| process.ended.as_fd())
    }

    /// Returns its process.
    pub(super) fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|process| process.record.pid)
    }

    /// Starts it. It tells at `ready` that it holds.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(&mut self, source: &Source, ready: &Path) -> Result<(), Failure> {
        if let Some(policy) = &self.wanted.policy {
            check_policy(policy)?;
        }
        let failed = |error: io::Error| Failure::new(format!("cannot start its process: {error}"));
        let account = User::from_uid(Uid::from_raw(0)).ok().flatten();
        let home = account.map_or_else(|| PathBuf::from("/root"), |account| account.dir);
        // What the node itself is, also after the file was replaced.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("httpjail")
            .args(&self.wanted.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", source.root.above())
            .env(readiness::VARIABLE, ready)
            .stdin(Stdio::null())
            .current_dir("/")
            .process_group(0);
        command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let child = command.spawn().map_err(failed)?;
        let pid = i32::try_from(child.id()).map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
        let noted = clone::pidfd(Pid::from_raw(pid)).and_then(|ended| {
            let record = Record::write(pid, &self.wanted.key, &self.wanted.arguments, self.cgroup.clone())?;
            Ok(Process { ended, record })
        });
        // What nobody would find again is not started.
        self.process = Some(noted.map_err(|error| {
            let mut child = child;
            let _ = child.kill().and_then(|()| child.wait());
            failed(error)
        })?);
        self.state = State::Starting(Instant::now());
        Ok(())
    }

    /// Notes that it has told that it holds. Returns true if it had not yet.
    pub(super) fn holds(&mut self) -> bool {
        let starting = matches!(self.state, State::Starting(_));
        if starting {
            self.state = State::Holding(Instant::now());
            self.said.clear();
        }
        starting
    }

    /// Sends it a signal, if it runs.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            // It may have ended.
            let _ = clone::signal(process.ended.as_fd(), signal);
        }
    }

    /// Has it end: it is wanted no more.
    pub(super) fn leave(&mut self) {
        self.signal(Signal::SIGTERM);
        self.state = State::Leaving;
    }

    /// Takes its end, once its process has ended. Returns how it ended.
    pub(super) fn reap(&mut self) -> Option<String> {
        let process = self.process.as_ref()?;
        if !wait_readable(process.ended.as_fd(), Duration::ZERO).unwrap_or(false) {
            return None;
        }
        let pid = Pid::from_raw(process.record.pid);
        let how = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => format!("exit status {status}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
            // That of another node.
            _ => "ended".to_owned(),
        };
        process.record.remove();
        self.process = None;
        Some(how)
    }

    /// Notes that it has failed. Returns after which time it is started again, and whether `why` is new.
    pub(super) fn fail(&mut self, why: &str) -> (Duration, bool) {
        if let State::Holding(since) = self.state
            && since.elapsed() > LASTING
        {
            self.failures = 0;
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MOST);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(Instant::now() + pause);
        let new = self.said != why;
        why.clone_into(&mut self.said);
        (pause, new)
    }

    /// Returns true if it could not be started, or has ended, and has not held since.
    pub(super) fn is_failing(&self) -> bool {
        !self.said.is_empty()
    }

    /// Has it started again at once, whatever it was.
    pub(super) fn hurry(&mut self) {
        if matches!(self.state, State::Due(_)) {
            self.failures = 0;
            self.state = State::Due(Instant::now());
        }
    }
}

/// The words of a command line.
pub(super) fn words<const N: usize>(words: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}
