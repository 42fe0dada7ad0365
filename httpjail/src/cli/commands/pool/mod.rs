//! `httpjail pool`: keeps jails that are armed and wait for a command, and gives each to one client.
//!
//! The pool's process accepts connections, asks the kernel who is at the other end, and hands the connection to the
//! supervisor of a jail that waits. It reads nothing that a client sends.

pub(crate) mod client;
mod place;
mod shelf;
mod spare;

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cli::args;
use crate::cli::context::RunContext;
use crate::cli::output::{USAGE, failure};
use crate::cli::readiness;
use crate::failure::Failure;
use crate::jail::sandbox::rights;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::steering::hints;
use crate::jail::supervisor::signals::Signals;
use crate::sys::socket;
use shelf::Shelf;
use spare::Spare;

/// How often the policy file is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the jails may take to end in order.
const END_LIMIT: Duration = Duration::from_secs(30);
/// What a program has from a shell that it was interrupted in.
const INTERRUPTED: i32 = 130;

const NO_JAILS: &str = "its owner starts it with --user NAME for each user who is to have some";

/// What a pool is, besides what its jails are.
#[derive(Debug)]
pub(crate) struct Plan {
    size: usize,
    name: String,
    users: Vec<String>,
}

impl Plan {
    /// Of what was typed.
    pub(crate) fn of(args: &args::Pool) -> Plan {
        Plan {
            size: args.size.into(),
            name: args.name().to_owned(),
            users: args.user.clone(),
        }
    }
}

/// Keeps the pool until it is told to end. Returns httpjail's exit status.
///
/// # Errors
/// What failed before the first jail waited.
pub(crate) fn keep(context: RunContext, plan: Plan) -> Result<i32, Failure> {
    prctl::set_dumpable(false).map_err(|error| Failure::new(format!("cannot hide from tracing: {error}")))?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    let owner = context.caller.identity.clone();
    let shelves = users(&context, &plan)?
        .into_iter()
        .map(|(uid, name)| {
            let mut config = context.config.clone();
            config.user = name.or(config.user);
            let caller = context.caller.clone();
            Shelf::new(uid, RunContext { config, caller }, &owner)
        })
        .collect();
    let listener = place::open(&plan.name)?;
    let mut pool = Pool {
        size: plan.size,
        shelves,
        taken: Vec::new(),
        told: false,
    };
    let kept = pool.keep(&listener, &signals);
    // Nobody is to come to a pool that ends.
    drop(listener);
    pool.end();
    kept
}

/// The users whose jails there are, each with the name by which that was said.
fn users(context: &RunContext, plan: &Plan) -> Result<Vec<(u32, Option<String>)>, Failure> {
    let named = |name: &String| {
        let user = UserIdentity::named(name).map_err(|error| Failure {
            status: USAGE,
            ..failure(error)
        })?;
        Ok((user.uid.as_raw(), Some(name.clone())))
    };
    let names = match plan.users.as_slice() {
        [] => context.config.user.as_slice(),
        names => names,
    };
    let mut users = names.iter().map(named).collect::<Result<Vec<_>, Failure>>()?;
    if users.is_empty() {
        users.push((context.caller.identity.uid.as_raw(), None));
    } else if !rights::may_change_user() {
        return Err(Failure {
            hint: Some(hints::with_sudo()),
            ..Failure::new("only root can keep jails for a user by name")
        });
    }
    users.dedup_by_key(|(uid, _)| *uid);
    Ok(users)
}

struct Pool<'a> {
    size: usize,
    shelves: Vec<Shelf<'a>>,
    /// The jails that clients have. They end with these handles.
    taken: Vec<Spare>,
    /// It has been said that all are ready.
    told: bool,
}

impl Pool<'_> {
    fn keep(&mut self, listener: &place::Listener, signals: &Signals) -> Result<i32, Failure> {
        let mut look = Instant::now() + PERIOD;
        loop {
            // One at a time, so that those who work are not slowed down by those who wait.
            if !self.shelves.iter().any(Shelf::is_making) {
                for shelf in &mut self.shelves {
                    shelf.fill(self.size)?;
                    if shelf.is_making() {
                        break;
                    }
                }
            }
            self.tell(listener)?;
            let looks = self.shelves.iter().any(Shelf::looks);
            let idle = !self.shelves.iter().any(Shelf::is_making);
            let due = self.shelves.iter().filter_map(|shelf| shelf.due(self.size, idle));
            let due = due.chain(looks.then_some(look)).min();
            let (came, heard) = self.wait(listener, signals, due)?;
            if let Some(status) = asked(signals)? {
                return Ok(status);
            }
            reap();
            for pid in heard {
                for shelf in &mut self.shelves {
                    drop(shelf.hear(pid)?);
                }
                // It says nothing while it is taken, but that it ended.
                self.taken.retain(|spare| spare.pid.as_raw() != pid);
            }
            if came {
                self.accept(&listener.socket);
            }
            for shelf in &mut self.shelves {
                self.taken.extend(shelf.serve());
            }
            if looks && look <= Instant::now() {
                self.shelves.iter_mut().for_each(Shelf::look);
                look = Instant::now() + PERIOD;
            }
        }
    }

    /// Waits for whatever comes first. Returns whether a client has come, and which jails have something to say.
    fn wait(
        &self,
        listener: &place::Listener,
        signals: &Signals,
        due: Option<Instant>,
    ) -> Result<(bool, Vec<i32>), Failure> {
        let spares = self.shelves.iter().flat_map(Shelf::spares).chain(&self.taken);
        let spares: Vec<&Spare> = spares.collect();
        let all = [listener.socket.as_fd(), signals.as_fd()];
        let all = all.into_iter().chain(spares.iter().map(|spare| spare.as_fd()));
        let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let wait = due.map_or(PollTimeout::NONE, |due| {
            let wait = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, wait) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Failure::new(format!("cannot wait: {error}"))),
        }
        let came = |polled: &PollFd<'_>| polled.any().unwrap_or(true);
        let heard = polled.iter().skip(2).zip(&spares);
        let heard = heard
            .filter(|(polled, _)| came(polled))
            .map(|(_, spare)| spare.pid.as_raw());
        Ok((polled.first().is_some_and(came), heard.collect()))
    }

    /// Takes one client, and has it wait for a jail.
    fn accept(&mut self, listener: &UnixListener) {
        // It may have gone a moment ago.
        let Ok((connection, _)) = listener.accept() else { return };
        let connection = OwnedFd::from(connection);
        let who = getsockopt(&connection, sockopt::PeerCredentials)
            .map_err(io::Error::from)
            .and_then(|who| Ok((who.uid(), who.gid(), socket::peer_groups(connection.as_fd())?)));
        let Ok(who) = who else { return };
        let own = self.shelves.iter().position(|shelf| shelf.uid == who.0);
        // Root may be anybody, where the jails are root's to give.
        let first = (who.0 == 0 && rights::may_change_user()).then_some(0);
        match own.or(first).and_then(|at| self.shelves.get_mut(at)) {
            Some(shelf) => shelf.queue(connection, who),
            None => shelf::refuse(
                connection,
                &format!("user {} has no jails in this pool", who.0),
                NO_JAILS,
            ),
        }
    }

    /// Says once that all are ready.
    fn tell(&mut self, listener: &place::Listener) -> Result<(), Failure> {
        let size = self.size;
        if self.told || !self.shelves.iter().all(|shelf| shelf.is_full(size)) {
            return Ok(());
        }
        self.told = true;
        // Whoever reads no stderr loses nothing but this.
        let jails = if size == 1 { "jail waits" } else { "jails wait" };
        let _ = writeln!(io::stderr(), "httpjail: {size} {jails} at {}", listener.path.display());
        readiness::tell()
            .map_err(|error| Failure::new(format!("cannot tell who started httpjail that it is ready: {error}")))
    }

    /// Ends all jails in order, and what does not end, at once.
    fn end(&mut self) {
        let spares = self.shelves.iter().flat_map(Shelf::spares).chain(&self.taken);
        let mut left: Vec<Pid> = spares.map(|spare| spare.pid).collect();
        self.shelves.clear();
        self.taken.clear();
        let is_left = |pid: &Pid| waitpid(*pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive);
        let deadline = Instant::now() + END_LIMIT;
        left.retain(is_left);
        while !left.is_empty() && Instant::now() < deadline {
            // Nobody is kept waiting: the listener is closed.
            std::thread::sleep(Duration::from_millis(5));
            left.retain(is_left);
        }
        for pid in left {
            // A child that has not been reaped: no other process can have its id. Its jail ends with it.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// The exit status, if a signal asks for the end.
fn asked(signals: &Signals) -> Result<Option<i32>, Failure> {
    let failed = |error| Failure::new(format!("cannot read the signals: {error}"));
    Ok(signals.ending().map_err(failed)?.map(|signal| match signal {
        Signal::SIGINT => INTERRUPTED,
        _ => 0,
    }))
}

/// Takes note of children that have ended.
fn reap() {
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
}
