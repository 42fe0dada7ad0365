//! The supervisor while the command runs: forwards signals and stops, answers the proxy's process, keeps the deadline,
//! and ends everything when the command, the time or a part of the jail has ended.

pub(crate) mod client;
pub(crate) mod policy_watch;
pub(crate) mod signals;
pub(crate) mod standby;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigEvent, SigevNotify, Signal, kill};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::{getpgrp, getpid};

use super::process::approver::ApproverProcess;
use super::process::namespaces::Sandbox;
use super::process::proxy::ProxyProcess;
use super::process_info::socket_holders::{self, SocketHolders};
use super::protocol::init::{InitReply, InitRequest};
use super::sandbox::stdio;
use super::steering::Steering;
use super::unix::SocketGuard;
use crate::backend::Outcome;
use crate::sys::terminal::Terminal;
use client::Client;
use policy_watch::{PolicyPoller, PolicyWatch};
use signals::{Signals, is_forwarded};

/// Between SIGTERM and SIGKILL when the time is up.
const GRACE: Duration = Duration::from_secs(2);

/// How a run in a jail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The command ended.
    Command(Outcome),
    /// A part of the jail failed, so everything was ended.
    Failed(String),
}

impl End {
    /// httpjail's own exit status for it.
    fn status(&self) -> u8 {
        match self {
            End::Command(outcome) => outcome.status() as u8,
            End::Failed(_) => 125,
        }
    }
}

/// A jail whose command is running.
pub(crate) struct Running {
    sandbox: Sandbox,
    proxy_process: ProxyProcess,
    steering: Box<dyn Steering>,
    /// Kept to the end: dropping it detaches the programs in the kernel.
    _sockets: Option<SocketGuard>,
    signals: Signals,
    /// Decides about requests that no rule matches, if there is an approver.
    approver: Option<ApproverProcess>,
    /// The command holds the terminal, which must be taken back at the end.
    holds_terminal: bool,
    /// Who took the jail from a pool, in whose place this process has no terminal.
    client: Option<Client>,
}

/// Returns true if the command should get the terminal at once: httpjail has it, and the command reads from it and writes
/// to it. In a pipeline another program may read, so there the command gets it only when it asks (SIGTTIN).
pub(crate) fn wants_foreground() -> bool {
    let on_terminal = stdio::is_terminal(io::stdin().as_fd()) && stdio::is_terminal(io::stdout().as_fd());
    on_terminal && Terminal::open().is_some_and(|terminal| terminal.is_ours())
}

/// Sends this process SIGCONT at the deadline: the one signal that wakes a stopped process.
fn wake_at(deadline: Instant) -> io::Result<Timer> {
    let signal = SigevNotify::SigevSignal {
        signal: Signal::SIGCONT,
        si_value: 0,
    };
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(signal))?;
    // A timer of zero is one that is off.
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    timer.set(Expiration::OneShot(TimeSpec::from(left)), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

impl Running {
    pub(crate) fn new(
        sandbox: Sandbox,
        proxy_process: ProxyProcess,
        steering: Box<dyn Steering>,
        sockets: Option<SocketGuard>,
        signals: Signals,
        approver: Option<ApproverProcess>,
        holds_terminal: bool,
    ) -> Self {
        Running {
            sandbox,
            proxy_process,
            steering,
            _sockets: sockets,
            signals,
            approver,
            holds_terminal,
            client: None,
        }
    }

    /// The same for who took the jail from a pool.
    pub(crate) fn of(self, client: Client) -> Self {
        Running {
            client: Some(client),
            ..self
        }
    }

    /// Waits for the end, then ends whatever still runs in the jail, has the proxy finish its log, and removes the jail.
    /// Returns how it ended and what could not be removed.
    ///
    /// Meanwhile `watch` reloads the policy file, and `open_log` opens the request log again if it is moved away.
    pub(crate) fn wait(
        mut self,
        limit: Option<Duration>,
        watch: Option<&mut dyn PolicyWatch>,
        open_log: &dyn Fn() -> io::Result<File>,
    ) -> (End, Vec<String>) {
        let end = self
            .supervise(limit, PolicyPoller::new(watch), open_log)
            .unwrap_or_else(|error| End::Failed(error.to_string()));
        self.take_terminal();
        let killed = self.sandbox.kill();
        // Before the proxy, whose last lines go to the caller's own terminal.
        if let Some(approver) = &mut self.approver {
            approver.finish();
        }
        let finished = self.proxy_process.finish(end.status().into(), open_log);
        // What is left to be removed runs nothing and reaches nothing.
        if let Some(client) = &self.client {
            client.tell_end(match &end {
                End::Command(outcome) => Ok(*outcome),
                End::Failed(message) => Err(message),
            });
        }
        let removed = self.steering.disarm();
        let left = [killed, finished]
            .into_iter()
            .filter_map(|ended| Some(ended.err()?.to_string()));
        (end, left.chain(removed.err().map(|error| error.to_string())).collect())
    }

    fn supervise(
        &mut self,
        limit: Option<Duration>,
        mut poller: PolicyPoller<'_>,
        open_log: &dyn Fn() -> io::Result<File>,
    ) -> io::Result<End> {
        let init = u32::try_from(self.sandbox.pid.as_raw()).map_err(io::Error::other)?;
        let mut holders = SocketHolders::below(init);
        let ancestors = |pid| socket_holders::ancestors(init, pid);
        let mut deadline = limit.map(|limit| Instant::now() + limit);
        let mut out_of_time = false;
        loop {
            let next = deadline.into_iter().chain(poller.next()).min();
            let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
            // Rounded up, or the loop would spin through the last millisecond.
            let wait = wait.map_or(PollTimeout::NONE, |wait| {
                PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let mut polled = vec![
                PollFd::new(self.sandbox.channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.proxy_process.channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            polled.extend(
                self.approver
                    .as_ref()
                    .map(|approver| PollFd::new(approver.as_fd(), PollFlags::POLLIN)),
            );
            let asked = polled.len();
            polled.extend(self.client.iter().flat_map(Client::polled));
            match poll(&mut polled, wait) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let came = |at: usize| polled.get(at).is_some_and(|polled| polled.any().unwrap_or(true));
            let (init, proxy, signals, approver) = (came(0), came(1), came(2), asked > 3 && came(3));
            let heard = [came(asked), came(asked + 1)];
            // It sends only replies, or that it failed. Read before init's channel: a command that fails because of a denial
            // must not hide that the approver was gone.
            if approver && let Some(approver) = &self.approver {
                return Ok(End::Failed(approver.last_words()));
            }
            if init && let Some(end) = self.hear_init(deadline)? {
                return Ok(if out_of_time {
                    End::Command(Outcome::TimedOut)
                } else {
                    end
                });
            }
            if proxy {
                let find = |socket, words: &dyn Fn(u32) -> Option<String>| holders.find(socket, words);
                let answered = self.proxy_process.answer(ancestors, find, open_log);
                if let Err(message) = answered.and_then(|asked| poller.answer(&self.proxy_process, asked)) {
                    return Ok(End::Failed(message));
                }
            }
            if signals {
                self.pass_signals()?;
            }
            if heard != [false; 2]
                && let Some(client) = &self.client
            {
                match client.hear(heard) {
                    Ok(Some(signal)) => self.pass(signal)?,
                    Ok(None) => {}
                    Err(message) => return Ok(End::Failed(message)),
                }
            }
            if let Err(error) = poller.look(&self.proxy_process) {
                return Ok(End::Failed(format!("the proxy ended: {error}")));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                if out_of_time {
                    return Ok(End::Command(Outcome::TimedOut));
                }
                out_of_time = true;
                deadline = Some(Instant::now() + GRACE);
                self.sandbox
                    .channel
                    .send(&InitRequest::Signal(Signal::SIGTERM as i32))?;
                // A stopped command would not receive SIGTERM.
                self.sandbox
                    .channel
                    .send(&InitRequest::Signal(Signal::SIGCONT as i32))?;
            }
        }
    }

    fn hear_init(&mut self, deadline: Option<Instant>) -> io::Result<Option<End>> {
        match self.sandbox.channel.receive() {
            Ok(InitReply::Exited(status)) => Ok(Some(End::Command(Outcome::Exited(status)))),
            Ok(InitReply::Killed(signal)) => Ok(Some(End::Command(Outcome::Killed(signal)))),
            Ok(InitReply::Stopped(signal)) => self.stop(signal, deadline).map(|()| None),
            Ok(InitReply::NotCarried(left)) => {
                tracing::warn!(
                    "cannot copy the command's changes back to the host: {}",
                    left.join("; ")
                );
                Ok(None)
            }
            Ok(other) => Ok(Some(End::Failed(format!(
                "unexpected reply of the jail's init: {other:?}"
            )))),
            Err(error) => Ok(Some(End::Failed(format!("the jail's init ended: {error}")))),
        }
    }

    fn pass_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.next()? {
            self.pass(signal)?;
        }
        Ok(())
    }

    fn pass(&mut self, signal: Signal) -> io::Result<()> {
        if signal == Signal::SIGCONT {
            self.resume()?;
        } else if is_forwarded(signal) {
            self.sandbox.channel.send(&InitRequest::Signal(signal as i32))?;
        }
        Ok(())
    }

    /// Handles a stopped command. If it asks for the terminal, and httpjail has it, the command gets it. Otherwise httpjail
    /// stops too, so that the shell sees a stopped job. Without a terminal there is no such shell, and a command that stops
    /// itself, while others of the jail still work, must not stop the process that keeps the deadline and takes signals.
    fn stop(&mut self, signal: i32, deadline: Option<Instant>) -> io::Result<()> {
        if let Some(client) = &self.client {
            return client.tell_stop(signal);
        }
        let Some(terminal) = Terminal::open() else {
            return Ok(());
        };
        let asks = [Signal::SIGTTIN as i32, Signal::SIGTTOU as i32].contains(&signal);
        if asks && terminal.is_ours() {
            return self.resume();
        }
        self.take_terminal();
        if let Some(approver) = &self.approver {
            approver.suspend()?;
        }
        // Dropping it disarms the timer.
        let _alarm = deadline.map(wake_at).transpose()?;
        kill(getpid(), Signal::SIGSTOP)?;
        // Continued. The SIGCONT that did it is still among the signals, and continues the command.
        Ok(())
    }

    /// Continues the command after httpjail was continued, with the terminal if the shell has put httpjail in the
    /// foreground (`fg`).
    fn resume(&mut self) -> io::Result<()> {
        if let Some(client) = &self.client {
            let foreground = client.has_terminal();
            return self.sandbox.channel.send(&InitRequest::Resume { foreground });
        }
        if let Some(approver) = self.approver.as_ref().filter(|approver| approver.holds_terminal()) {
            approver.resume()?;
            // The jail's own terminal is always the command's.
            return self.sandbox.channel.send(&InitRequest::Resume { foreground: true });
        }
        let foreground = Terminal::open().is_some_and(|terminal| terminal.is_ours());
        self.holds_terminal |= foreground;
        self.sandbox.channel.send(&InitRequest::Resume { foreground })
    }

    fn take_terminal(&mut self) {
        if std::mem::take(&mut self.holds_terminal)
            && let Some(terminal) = Terminal::open()
        {
            // The session may have lost its terminal (hang-up): then there is nothing to take.
            let _ = terminal.give_to(getpgrp());
        }
    }
}
