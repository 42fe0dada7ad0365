//! The jail's PID 1: arranges the mounts, tests the steering, starts the command and reaps orphans.
//!
//! It dies with httpjail, and the kernel ends the whole PID namespace with it (`kernel/pid_namespace.c`,
//! `zap_pid_ns_processes`). It obeys only its channel to the supervisor, and ends when that is closed. It holds no
//! secret and reads nothing that the command writes.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chdir};

use super::command::JailedCommand;
use crate::jail::protocol::channel;
use crate::jail::protocol::command::{CommandEvent, StartFailure};
use crate::jail::protocol::fd_passing;
use crate::jail::protocol::init::{InitEnd, InitReply, InitRequest, Inside, Notify, ProbeOutcome};
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::mounts::{self, Generated, View};
use crate::jail::sandbox::rights;
use crate::jail::sandbox::terminal::Pair;
use crate::jail::self_test;
use crate::jail::steering::netns;
use crate::jail::unix::self_test::ProbeSetup;
use crate::jail::unix::{self, ConnectBroker};
use crate::sys::clone::{self, Side};
use crate::sys::memory;
use crate::sys::terminal::Terminal;

/// What init needs besides its requests.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The jail's view of the file system.
    pub view: View,
    pub command: JailedCommand,
    /// Its seccomp filter.
    pub filter: Filter,
}

/// Runs as PID 1, in the child of the clone, until the channel ends. Returns the exit status.
pub(crate) fn live(channel: &InitEnd, plan: &mut Plan) -> i32 {
    let Err(error) = obey(channel, plan);
    give_up(channel, &error)
}

/// Reports the error, and returns the exit status.
pub(crate) fn give_up(channel: &InitEnd, error: &io::Error) -> i32 {
    // If the channel has ended, the supervisor is gone and no process is left to report to.
    let _ = channel.send(&InitReply::Failed(error.to_string()));
    125
}

fn obey(channel: &InitEnd, plan: &mut Plan) -> io::Result<Infallible> {
    // Set first and never cleared: no change of credentials follows but dropping capabilities.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_dumpable(false)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    chdir("/")?;
    let mut command = None;
    // The inner end of a terminal of the jail's own: as long as it is open, the outer one does not see an end.
    let mut _terminal = None;
    let mut _held = Vec::new();
    let mut allowed = Vec::new();
    let mut generated = Vec::new();
    loop {
        if let Some(child) = &mut command {
            watch(channel, child, &generated)?;
        }
        let (order, sockets) = channel.receive_with()?;
        match order {
            InitRequest::Connect(inside) => connect(channel, inside)?,
            InitRequest::Arrange { user_namespace } => {
                let arranged = mounts::arrange(&plan.view, user_namespace).map_err(io::Error::other)?;
                _held = arranged.held;
                allowed = arranged.allowed;
                generated = arranged.generated;
                // It is in the jail's files now, and init lives as long as the jail.
                plan.view.overlays.clear();
                channel.send(&InitReply::Arranged(arranged.notes))?;
            }
            InitRequest::Probe { ipv6 } => channel.send(&InitReply::Probed(self_test::probe(ipv6)))?,
            InitRequest::ProbeSockets { notify } => {
                let setup = ProbeSetup {
                    place: &plan.view.place,
                    identity: &plan.command.identity,
                    filter: &plan.filter,
                };
                let probe = unix::self_test::probe(&setup, notify, &sockets, &allowed);
                let probe = probe.unwrap_or_else(|error| ProbeOutcome::Cannot(error.to_string()));
                channel.send(&InitReply::ProbedSockets(probe))?;
            }
            InitRequest::MakeTerminal => {
                let pair = Pair::take_session(&plan.command.identity)?;
                channel.send_with(&InitReply::Terminal, &[pair.master.as_raw_fd()])?;
                _terminal = Some(pair.slave);
            }
            InitRequest::Open { user_namespace } => open(channel, user_namespace)?,
            InitRequest::Take(taken) => plan.command = plan.command.taken(taken, sockets)?,
            InitRequest::Run { foreground, notify } => match spawn(plan, foreground, notify, &allowed)? {
                Ok(child) => {
                    rights::keep_only_kill()?;
                    channel.send(&InitReply::Started)?;
                    memory::give_back();
                    command = Some(child);
                }
                Err(failure) => channel.send(&InitReply::NotStarted(failure))?,
            },
            InitRequest::Signal(number) => {
                let signal = Signal::try_from(number)?;
                if let Some(child) = &command {
                    child.signal(signal);
                }
            }
            InitRequest::Resume { foreground } => {
                if let Some(child) = &command {
                    child.resume(foreground)?;
                }
            }
        }
    }
}

/// Sets up the network. Init keeps none of the sockets.
fn connect(channel: &InitEnd, inside: Inside) -> io::Result<()> {
    let (listeners, way, tells) = netns::set_up(inside)?;
    let mut note = match way {
        netns::Way::Tproxy => "nftables hands connections over by tproxy".to_owned(),
        netns::Way::Redirect => "nftables hands connections over by redirect: this kernel has no nft_tproxy".to_owned(),
    };
    if !tells {
        note += "; what it refuses is neither shown nor logged: this kernel has no nft_log or nfnetlink_log";
    }
    let (counts, sockets) = fd_passing::pack(listeners);
    let raw: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    channel.send_with(&InitReply::Connected { counts, note }, &raw)
}

/// Hands the namespaces out: init cannot be looked at by others of its user, but by itself.
fn open(channel: &InitEnd, user_namespace: bool) -> io::Result<()> {
    let names: &[&str] = if user_namespace { &["user", "net"] } else { &["net"] };
    let namespaces = names
        .iter()
        .map(|name| File::open(format!("/proc/self/ns/{name}")))
        .collect::<io::Result<Vec<_>>>()?;
    let raw: Vec<RawFd> = namespaces.iter().map(AsRawFd::as_raw_fd).collect();
    channel.send_with(&InitReply::Opened, &raw)
}

/// The running command.
struct Child {
    pid: Pid,
    signals: SignalFd,
    ended: bool,
}

impl Child {
    fn signal(&self, signal: Signal) {
        // The group, or the process alone where it has left its group; gone is no fault.
        if !self.ended && killpg(self.pid, signal).is_err() {
            let _ = kill(self.pid, signal);
        }
    }

    fn resume(&self, foreground: bool) -> io::Result<()> {
        if let Some(terminal) = Terminal::open().filter(|_| foreground) {
            terminal.give_to(self.pid)?;
        }
        self.signal(Signal::SIGCONT);
        Ok(())
    }
}

/// Forks the command. Its failure to start comes back over a channel that a successful exec closes.
fn spawn(
    plan: &mut Plan,
    foreground: bool,
    notify: Option<Notify>,
    allowed: &[OwnedFd],
) -> io::Result<Result<Child, StartFailure>> {
    let signals = SignalFd::with_flags(
        &SigSet::from(Signal::SIGCHLD),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?;
    let terminal = Terminal::open().filter(|_| foreground);
    let (ours, theirs) = channel::pair()?;
    match clone::fork()? {
        Side::Child => clone::live(|| {
            // Above the numbers that the command's pipes are to have.
            let theirs = match theirs.above(plan.command.last_pipe()) {
                Ok(theirs) => theirs,
                // Init reads end-of-file, as if the command had been executed, and that it has ended with 125.
                Err(_) => return 125,
            };
            let watched = notify.map(|_| &theirs);
            let failure = plan.command.start(&plan.filter, terminal.as_ref(), watched);
            // Init receives it, or is gone, and then this process ends too.
            let _ = theirs.send(&CommandEvent::Failed(failure));
            125
        }),
        Side::Parent(pid) => {
            drop(theirs);
            // Only the command may hold its pipes, or their readers would never see end-of-file.
            plan.command.let_go();
            let mut word = ours.receive_with();
            if let (Ok((CommandEvent::Watched, listener)), Some(notify)) = (&mut word, notify) {
                let listener = listener.pop().ok_or(io::ErrorKind::InvalidData)?;
                ConnectBroker::new(notify, listener, allowed)?.start()?;
                ours.send(&())?;
                word = ours.receive_with();
            }
            match word {
                Ok((CommandEvent::Failed(failure), _)) => {
                    waitpid(pid, None)?;
                    Ok(Err(failure))
                }
                Ok((CommandEvent::Watched, _)) => Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Ok(Child {
                    pid,
                    signals,
                    ended: false,
                })),
                Err(error) => Err(error),
            }
        }
    }
}

/// Reaps and reports until the supervisor sends a request.
fn watch(channel: &InitEnd, child: &mut Child, generated: &[Generated]) -> io::Result<()> {
    loop {
        let mut polled = vec![
            PollFd::new(channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(child.signals.as_fd(), PollFlags::POLLIN),
        ];
        let changes = generated.iter().filter_map(Generated::changes);
        polled.extend(changes.map(|changes| PollFd::new(changes, PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let order = polled[0].any().unwrap_or(true);
        if polled.iter().skip(2).any(|changes| changes.any().unwrap_or(true)) {
            generated.iter().for_each(Generated::complete);
        }
        while child.signals.read_signal()?.is_some() {}
        reap(channel, child, generated)?;
        if order {
            return Ok(());
        }
    }
}

fn reap(channel: &InitEnd, child: &mut Child, generated: &[Generated]) -> io::Result<()> {
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(()),
            status => status?,
        };
        let report = match status {
            WaitStatus::Exited(pid, code) if pid == child.pid => InitReply::Exited(code),
            WaitStatus::Signaled(pid, signal, _) if pid == child.pid => InitReply::Killed(signal as i32),
            WaitStatus::Stopped(pid, signal) if pid == child.pid => InitReply::Stopped(signal as i32),
            _ => continue,
        };
        if !matches!(report, InitReply::Stopped(_)) {
            child.ended = true;
            let left: Vec<String> = generated.iter().flat_map(Generated::carry_back).collect();
            if !left.is_empty() {
                channel.send(&InitReply::NotCarried(left))?;
            }
        }
        channel.send(&report)?;
    }
}
