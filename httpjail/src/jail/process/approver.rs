//! The approver: the process that decides about requests that no rule matches, with the caller's rights only.
//!
//! It holds the caller's terminal (`--interactive`), or starts the program that decides (`--approve-with`). The
//! supervisor forks it before the proxy's process, which asks it over a socket pair. When it ends early the run ends:
//! no request could be approved any more, and the terminal may be in disorder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::Pid;

use crate::failure::Failure;
use crate::jail::protocol::approver::{ApproverEnd, ApproverReply, ApproverRequest};
use crate::jail::protocol::channel::{self, IpcChannel};
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::rights;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::termination;
use crate::sys::clone::{self, Side};
use crate::sys::fds;
use crate::sys::terminal::{Modes, Terminal};

/// How long it may take for one request. Generous: a terminal may be slow.
const LIMIT: Duration = Duration::from_secs(10);

/// What an approver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Holds the terminal and asks there. It starts no program and opens no socket.
    Terminal,
    /// Starts the program that decides.
    Program,
}

/// The supervisor's handle of the approver. Dropping it ends the approver and restores the terminal.
#[derive(Debug)]
pub(crate) struct ApproverProcess {
    kind: Kind,
    pid: Pid,
    ended: OwnedFd,
    channel: IpcChannel<ApproverRequest, ApproverReply>,
    modes: Option<Modes>,
}

impl ApproverProcess {
    /// Forks the approver, which gives up what `caller` has not, runs `main`, and ends with it. `keep` are the descriptors that
    /// `main` uses besides 0, 1, 2 and the channel.
    ///
    /// # Errors
    /// Those of the fork, and what the approver tells.
    pub(crate) fn spawn(
        kind: Kind,
        caller: &UserIdentity,
        keep: &[RawFd],
        main: impl FnOnce(&ApproverEnd) -> Result<(), Failure>,
    ) -> Result<ApproverProcess, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot fork the approver: {error}"));
        let modes = match kind {
            Kind::Terminal => Terminal::open()
                .map(|terminal| terminal.modes())
                .transpose()
                .map_err(failed)?,
            Kind::Program => None,
        };
        let (ours, theirs) = channel::pair().map_err(failed)?;
        match clone::fork().map_err(failed)? {
            Side::Parent(pid) => {
                let approver = ApproverProcess {
                    kind,
                    pid,
                    ended: clone::pidfd(pid).map_err(failed)?,
                    channel: ours,
                    modes,
                };
                drop(theirs);
                approver.done("start")?;
                Ok(approver)
            }
            Side::Child => clone::live(|| {
                drop(ours);
                let keep: Vec<RawFd> = keep.iter().copied().chain([theirs.as_raw_fd()]).collect();
                let settled = settle(kind, caller, &keep)
                    .map_err(|error| Failure::new(format!("cannot start the approver: {error}")));
                match settled {
                    Ok(()) => live(theirs, main),
                    Err(failure) => give_up(&theirs, failure),
                }
            }),
        }
    }

    /// Returns true if the approver holds the jail's terminal.
    pub(crate) fn holds_terminal(&self) -> bool {
        self.kind == Kind::Terminal
    }

    /// Passes the outer end of the jail's terminal to the approver.
    ///
    /// # Errors
    /// When the approver is gone or stuck.
    pub(crate) fn hand_over(&mut self, master: &OwnedFd) -> Result<(), Failure> {
        let sent = self.channel.send_with(&ApproverRequest::Relay, &[master.as_raw_fd()]);
        sent.map_err(|error| Failure::new(format!("the approver ended: {error}")))?;
        self.done("take the terminal")
    }

    /// Has the approver restore the terminal's modes, before the job is stopped.
    ///
    /// # Errors
    /// When the approver is gone or stuck.
    pub(crate) fn suspend(&self) -> io::Result<()> {
        self.tell(ApproverRequest::Suspend)
    }

    /// Has the approver take the terminal again, if the job is in its foreground.
    ///
    /// # Errors
    /// When the approver is gone or stuck.
    pub(crate) fn resume(&self) -> io::Result<()> {
        self.tell(ApproverRequest::Resume)
    }

    /// Returns why the approver has ended.
    pub(crate) fn last_words(&self) -> String {
        match self.channel.receive() {
            Ok(ApproverReply::Failed(failure)) => failure.message,
            _ => "the approver ended".to_owned(),
        }
    }

    /// Lets the approver show the rest of the jail's output and end; kills it if it does not. Does nothing the second
    /// time.
    pub(crate) fn finish(&mut self) {
        if self.pid.as_raw() <= 0 {
            return;
        }
        let orderly = self.kind == Kind::Terminal
            && self.channel.send(&ApproverRequest::Finish).is_ok()
            && matches!(self.channel.receive_within(LIMIT), Ok(ApproverReply::Done))
            && channel::wait_readable(self.ended.as_fd(), LIMIT).unwrap_or(false);
        self.channel.close();
        if let Err(error) = termination::kill_and_reap("the approver", self.pid, self.ended.as_fd()) {
            tracing::warn!("{error}");
        }
        self.pid = Pid::from_raw(0);
        if let (false, Some(modes), Some(terminal)) = (orderly, &self.modes, Terminal::open()) {
            // No other process can do it, and no process could be told if it fails.
            let _ = terminal.reset(modes);
        }
    }

    fn tell(&self, order: ApproverRequest) -> io::Result<()> {
        if self.kind == Kind::Program {
            return Ok(());
        }
        self.channel.send(&order)?;
        match self.channel.receive_within(LIMIT)? {
            ApproverReply::Done => Ok(()),
            ApproverReply::Failed(failure) => Err(io::Error::other(failure.message)),
        }
    }

    fn done(&self, what: &str) -> Result<(), Failure> {
        match self.channel.receive_within(LIMIT) {
            Ok(ApproverReply::Done) => Ok(()),
            Ok(ApproverReply::Failed(failure)) => Err(failure),
            Err(error) => Err(Failure::new(format!("the approver did not {what}: {error}"))),
        }
    }
}

impl AsFd for ApproverProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for ApproverProcess {
    fn drop(&mut self) {
        self.finish();
    }
}

fn live(channel: ApproverEnd, main: impl FnOnce(&ApproverEnd) -> Result<(), Failure>) -> i32 {
    if channel.send(&ApproverReply::Done).is_err() {
        return 125;
    }
    match main(&channel) {
        Ok(()) => 0,
        Err(failure) => give_up(&channel, failure),
    }
}

fn give_up(channel: &ApproverEnd, failure: Failure) -> i32 {
    // If the supervisor is gone there is no process to report to.
    let _ = channel.send(&ApproverReply::Failed(failure));
    125
}

fn settle(kind: Kind, caller: &UserIdentity, keep: &[RawFd]) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    fds::close_from(3, keep)?;
    let mut mask = SigSet::empty();
    if kind == Kind::Terminal {
        // No signal ends it before the supervisor: it must restore the terminal. Only SIGKILL can prevent that.
        mask = SigSet::all();
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    rights::become_caller(caller)?;
    // Cleared by a change of user (kernel/cred.c, commit_creds).
    prctl::set_dumpable(false)?;
    match kind {
        Kind::Terminal => Filter::of_approver()?.install(),
        // Its standard input is the command's.
        Kind::Program => {
            nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
            nix::unistd::setsid()?;
            Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
        }
    }
}
