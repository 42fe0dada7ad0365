//! `httpjail --pool -- COMMAND`: gives the command to a jail that waits, and stands for it before the shell and the terminal.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::getpid;

use super::place;
use crate::approve::terminal::Relay;
use crate::backend::Outcome;
use crate::cli::context::Inherited;
use crate::failure::Failure;
use crate::jail::process::surroundings;
use crate::jail::protocol::channel;
use crate::jail::protocol::pool::{JailLine, Order, Surroundings, ToClient, ToJail};
use crate::jail::protocol::words;
use crate::jail::sandbox::stdio;
use crate::jail::supervisor::signals::{ENDING, Signals, is_forwarded};
use crate::logging;
use crate::sys::terminal::Terminal;

/// How long until the command runs: longer than the pool has a client wait.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a signal leaves for the word that the command runs already.
const LAST: Duration = Duration::from_secs(1);
/// How many pipes one message has room for, besides the rest.
const PIPES_MAX: usize = 11;

/// Runs the command in a jail of that pool. Returns httpjail's exit status.
///
/// # Errors
/// When there is no pool or no jail, the command cannot be started, or httpjail failed.
pub(crate) fn run(name: &str, command: Vec<OsString>, inherited: Inherited) -> Result<i32, Failure> {
    place::check(name)?;
    let failed = |what: &'static str| move |error: io::Error| Failure::new(format!("cannot {what}: {error}"));
    if inherited.pipes.len() > PIPES_MAX {
        return Err(Failure::new(format!(
            "{} inherited pipes are more than the {PIPES_MAX} that can be given to a jail of a pool",
            inherited.pipes.len()
        )));
    }
    let surroundings = surroundings::own(&inherited.pipes).map_err(failed("read this process's own limits"))?;
    let signals = Signals::block().map_err(failed("take the signals"))?;
    let screen = terminal();
    let line: JailLine = channel::over(place::find(name)?).map_err(failed("talk to the pool"))?;
    match order(&line, &command, surroundings, screen.is_some()) {
        // A pool that refuses has said why, and closed the line.
        Err(error) if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind()) => {}
        sent => sent.map_err(failed("send the command to the pool"))?,
    }
    let relay = screen.map(Relay::new).transpose().map_err(failed("use the terminal"))?;
    let mut client = Client { line, signals, relay };
    let ended = client.live();
    if let Some(relay) = &mut client.relay {
        relay.leave();
    }
    ended.map_err(|error| match error {
        Lost::Jail(failure) => failure,
        Lost::Io(error) => Failure::new(format!("lost the jail of the pool: {error}")),
    })
}

/// The terminal, if the command is to have one: it reads from it and writes to it.
fn terminal() -> Option<File> {
    let on_terminal = stdio::is_terminal(io::stdin().as_fd()) && stdio::is_terminal(io::stdout().as_fd());
    Some(Terminal::open().filter(|_| on_terminal)?.into_file())
}

/// Sends what to run, and all that it has of this process.
fn order(line: &JailLine, command: &[OsString], surroundings: Surroundings, terminal: bool) -> io::Result<()> {
    let variables =
        std::env::vars_os().map(|(name, value)| [name.as_os_str(), OsStr::new("="), &value].into_iter().collect());
    let variables: Vec<OsString> = variables.collect();
    let words = words::keep(command.iter().chain(&variables).map(OsString::as_os_str))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // It may be one that this user may not enter.
    let directory: Option<OwnedFd> = open(".", flags, Mode::empty()).ok();
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let descriptors: Vec<RawFd> = [words.as_raw_fd()]
        .into_iter()
        .chain(directory.iter().map(|directory| directory.as_raw_fd()))
        .chain([input.as_raw_fd(), output.as_raw_fd(), error.as_raw_fd()])
        .chain(surroundings.pipes.iter().copied())
        .collect();
    let order = Order {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arguments: command.len(),
        directory: directory.is_some(),
        terminal,
        surroundings,
    };
    line.send_with(&ToJail::Start(Box::new(order)), &descriptors)
}

struct Client {
    line: JailLine,
    signals: Signals,
    /// The terminal, where the command has one of the jail's.
    relay: Option<Relay>,
}

/// Why the command's end is not known.
enum Lost {
    Jail(Failure),
    Io(io::Error),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        Lost::Io(error)
    }
}

impl Client {
    fn live(&mut self) -> Result<i32, Lost> {
        let mut patience = Some(Instant::now() + START_LIMIT);
        let mut early = None;
        loop {
            let [heard, signalled, outer, inner] = self.wait(patience)?;
            if signalled {
                let ending = self.pass_signals()?;
                // A command that runs by now gets it. Until then there is nothing to wait for.
                if let (Some(until), Some(signal)) = (&mut patience, ending) {
                    *until = (*until).min(Instant::now() + LAST);
                    early = Some(signal);
                }
            }
            if let Some(relay) = &mut self.relay {
                if outer {
                    relay.outer(false)?;
                }
                if inner {
                    relay.inner(false);
                }
            }
            if heard {
                match self.hear()? {
                    Some(outcome) => return Ok(self.conclude(outcome)),
                    None => patience = None,
                }
            }
            if patience.is_some_and(|until| until <= Instant::now()) {
                if let Some(signal) = early {
                    return Ok(Outcome::Killed(signal as i32).status());
                }
                let late = format!(
                    "the pool did not start the command within {} seconds",
                    START_LIMIT.as_secs()
                );
                return Err(Lost::Jail(Failure::new(late)));
            }
        }
    }

    /// Waits for word of the jail, signals, and both ends of the terminal.
    fn wait(&self, until: Option<Instant>) -> io::Result<[bool; 4]> {
        let ends = self
            .relay
            .as_ref()
            .map(|relay| [relay.outer_wants(), relay.inner_wants(false)]);
        let ends = ends.unwrap_or_default();
        let mut polled = vec![
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        polled.extend(ends.iter().flatten().map(|(fd, wanted)| PollFd::new(*fd, *wanted)));
        let wait = until.map_or(PollTimeout::NONE, |until| {
            let wait = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, wait) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let came = |at: usize| polled.get(at).is_some_and(|polled| polled.any().unwrap_or(true));
        let has_outer = ends[0].is_some();
        Ok([
            came(0),
            came(1),
            has_outer && came(2),
            ends[1].is_some() && came(2 + usize::from(has_outer)),
        ])
    }

    /// Passes signals on to the command. Returns one that ends httpjail where there is no command.
    fn pass_signals(&mut self) -> io::Result<Option<Signal>> {
        let mut ending = None;
        while let Some(signal) = self.signals.next()? {
            match (&mut self.relay, signal) {
                (Some(relay), Signal::SIGWINCH) => relay.resize(),
                (relay, Signal::SIGCONT) => {
                    if let Some(relay) = relay {
                        relay.enter()?;
                    }
                    self.send(signal);
                }
                (_, signal) if is_forwarded(signal) => self.send(signal),
                _ => {}
            }
            ending = ending.or(Some(signal).filter(|signal| ENDING.contains(signal)));
        }
        Ok(ending)
    }

    fn send(&self, signal: Signal) {
        // A jail that is gone is noticed when it is heard next, after its last words.
        let _ = self.line.send(&ToJail::Signal(signal as i32));
    }

    /// Hears the jail. Returns how the command ended, once it has.
    fn hear(&mut self) -> Result<Option<Outcome>, Lost> {
        let gone = |_| Lost::Jail(Failure::new("the pool has ended, and the jail with it"));
        match self.line.receive_with().map_err(gone)? {
            (ToClient::Started, descriptors) => {
                if let (Some(relay), Some(inner)) = (&mut self.relay, descriptors.into_iter().next()) {
                    relay.start(inner)?;
                }
                Ok(None)
            }
            (ToClient::Stopped(_), _) => {
                self.stop()?;
                Ok(None)
            }
            (ToClient::Ended(outcome), _) => Ok(Some(outcome)),
            (ToClient::Failed(failure), _) => Err(Lost::Jail(failure)),
        }
    }

    /// Stops with the command, so that the shell sees a stopped job. Without a terminal there is no such shell.
    fn stop(&mut self) -> io::Result<()> {
        if Terminal::open().is_none() {
            return Ok(());
        }
        if let Some(relay) = &mut self.relay {
            relay.leave();
        }
        // The SIGCONT that ends this is still among the signals, and continues the command.
        Ok(kill(getpid(), Signal::SIGSTOP)?)
    }

    fn conclude(&mut self, outcome: Outcome) -> i32 {
        if let Some(relay) = &mut self.relay {
            relay.drain();
            relay.leave();
        }
        if outcome == Outcome::TimedOut {
            logging::warn(
                "the time given by --timeout is up; the command's whole process tree was ended",
                None,
            );
        }
        outcome.status()
    }
}
