//! The command's process group: signals go to it, and it gets the terminal while we have it to give.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getpid};
use std::io::IsTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::error::RunError;
use crate::backend::Outcome;
use crate::sys::terminal::{FORWARDED_SIGNALS, Terminal};

/// Between the wish that a command end and its end by force.
const GRACE: Duration = Duration::from_secs(2);

/// A command that runs in a process group of its own.
pub(super) struct Child {
    group: Group,
    signals: Signals,
}

impl Child {
    pub(super) fn spawn(mut command: process::Command, program: &OsString) -> Result<Child, RunError> {
        // Before the start: what comes from here on is for the command. SIGTTOU would stop us when we take the terminal back.
        let signals = Signals::listen().map_err(|error| RunError::System("take the signals", error))?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTTOU);
        mask.thread_block()
            .map_err(|error| RunError::System("block SIGTTOU", error.into()))?;
        let foreground = wants_foreground();

        let child = command.process_group(0).spawn();
        let child = child.map_err(|error| RunError::of_start(program, error))?;
        let mut group = Group {
            leader: Pid::from_raw(child.id().cast_signed()),
            holds_terminal: false,
        };
        if foreground {
            group.give_terminal();
        }
        Ok(Child { group, signals })
    }

    pub(super) async fn wait(mut self, limit: Option<Duration>) -> Result<Outcome, RunError> {
        let outcome = self.group.supervise(&mut self.signals, limit).await;
        self.group.take_terminal();
        self.group.end();
        outcome.map_err(|error| RunError::System("wait for the command", error))
    }
}

/// Whether the command reads from and writes to a terminal that is ours to give.
fn wants_foreground() -> bool {
    let on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    on_terminal && Terminal::open().is_some_and(|terminal| terminal.is_ours())
}

/// The command and what it started.
struct Group {
    leader: Pid,
    /// It has the terminal, which must be taken back.
    holds_terminal: bool,
}

impl Group {
    async fn supervise(&mut self, signals: &mut Signals, limit: Option<Duration>) -> io::Result<Outcome> {
        let mut deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut out_of_time = false;
        loop {
            if let Some(outcome) = self.changed()? {
                return Ok(if out_of_time { Outcome::TimedOut } else { outcome });
            }
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::SIGCHLD => {}
                    Signal::SIGCONT => self.resume(),
                    other => self.send(other),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if out_of_time {
                        self.send(Signal::SIGKILL);
                        deadline = None;
                        continue;
                    }
                    out_of_time = true;
                    deadline = Instant::now().checked_add(GRACE);
                    self.send(Signal::SIGTERM);
                    // A stopped command would not hear it.
                    self.send(Signal::SIGCONT);
                }
            }
        }
    }

    /// What has become of the leader since the last look; its end, if it has ended.
    fn changed(&mut self) -> io::Result<Option<Outcome>> {
        loop {
            match waitpid(self.leader, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Exited(_, status)) => return Ok(Some(Outcome::Exited(status))),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Some(Outcome::Killed(signal as i32))),
                Ok(WaitStatus::Stopped(_, signal)) => self.stopped(signal)?,
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stopped because it asks for a terminal that is ours to give (or that we gave while it was asking), or for good; then we stop as well, so that the shell
    /// sees a stopped job.
    fn stopped(&mut self, signal: Signal) -> io::Result<()> {
        let asks = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        if asks && (self.holds_terminal || Terminal::open().is_some_and(|terminal| terminal.is_ours())) {
            // Ours to give again, if it was given a moment too late.
            self.take_terminal();
            self.resume();
            return Ok(());
        }
        self.take_terminal();
        // Resumed: the SIGCONT that did it is among the signals, and lets the command go on.
        Ok(kill(getpid(), Signal::SIGSTOP)?)
    }

    fn resume(&mut self) {
        self.give_terminal();
        self.send(Signal::SIGCONT);
    }

    fn give_terminal(&mut self) {
        if let Some(terminal) = Terminal::open().filter(Terminal::is_ours) {
            // It fails if the command has ended already.
            self.holds_terminal |= terminal.give_to(self.leader).is_ok();
        }
    }

    fn take_terminal(&mut self) {
        if std::mem::take(&mut self.holds_terminal)
            && let Some(terminal) = Terminal::open()
        {
            // The session may have lost its terminal: then there is nothing to take.
            let _ = terminal.give_to(getpgrp());
        }
    }

    /// It fails only if nobody is left.
    fn send(&self, signal: Signal) {
        let _ = killpg(self.leader, signal);
    }

    /// What the command left behind had its network through us.
    fn end(&self) {
        self.send(Signal::SIGKILL);
    }
}

/// All signals that mean something, in their order of arrival.
struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    fn listen() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(16);
        for wanted in FORWARDED_SIGNALS.into_iter().chain([Signal::SIGCHLD, Signal::SIGCONT]) {
            let mut stream = signal(SignalKind::from_raw(wanted as i32))?;
            let sender = sender.clone();
            tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(wanted).await.is_ok() {} });
        }
        Ok(Signals(receiver))
    }

    async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            // The senders live as long as the runtime.
            None => std::future::pending().await,
        }
    }
}
