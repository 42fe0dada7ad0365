//! The node's one loop: what is wanted, what there is, and what becomes of it.

mod adopt;
mod change;
mod serve;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::attachments::{self, Start};
use super::child::{Child, State, Wanted};
use super::endpoint::Endpoint;
use super::figures::Figures;
use super::parents;
use super::readiness_socket::ReadinessSocket;
use super::source::Source;
use super::tree::Changes;
use crate::config::file::node::NodeFile;
use crate::failure::Failure;
use crate::jail::attach::closed;
use crate::jail::attach::closer::Closer;
use crate::jail::attach::is_at;
use crate::jail::steering::cgroup;
use crate::jail::supervisor::signals::Signals;
use crate::logging;

/// How often to look without being told.
const TICK: Duration = Duration::from_millis(500);
/// How often to look whether a new process executes what it is for.
const SOON: Duration = Duration::from_millis(5);
/// How often names of what is gone are removed.
const SWEEP: Duration = Duration::from_secs(30);
/// How many children start at a time. A datagram socket takes ten messages unread (`net.unix.max_dgram_qlen`).
const STARTING_MOST: usize = 8;
/// How long a child may take to hold.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The node.
pub(super) struct Supervisor {
    source: Source,
    file: NodeFile,
    mount: PathBuf,
    signals: Signals,
    changes: Changes,
    ready: ReadinessSocket,
    closer: Closer,
    children: BTreeMap<String, Child>,
    endpoint: Option<Endpoint>,
    endpoint_said: String,
    figures: Figures,
    swept: Instant,
    soon: bool,
}

impl Supervisor {
    /// Closes what is to be closed, and takes over what an earlier node has left.
    ///
    /// # Errors
    /// What kept it from that.
    pub(super) fn start(source: Source, file: NodeFile, signals: Signals) -> Result<Supervisor, Failure> {
        let mount = cgroup::mount_point().map_err(|error| Failure::new(error.to_string()))?;
        parents::check(&file, &mount)?;
        let mut node = Supervisor {
            changes: Changes::new()?,
            ready: ReadinessSocket::bind()?,
            closer: Closer::new()?,
            source,
            file,
            mount,
            signals,
            children: BTreeMap::new(),
            endpoint: None,
            endpoint_said: String::new(),
            figures: Figures::default(),
            swept: Instant::now(),
            soon: false,
        };
        closed::remove_stale();
        parents::close(&node.file, &node.mount, &node.closer)?;
        node.adopt();
        Ok(node)
    }

    /// Holds until a signal asks to end. With `keep` everything goes on without the node.
    ///
    /// # Errors
    /// What ended it; everything stays closed, or held by its own process.
    pub(super) fn run(mut self, keep: bool) -> Result<i32, Failure> {
        self.say(&format!(
            "holds what {} names: {} jails, {} closed cgroups",
            self.source.path.display(),
            self.file.jails.len(),
            self.file.closed.len()
        ));
        loop {
            self.look()?;
            self.wait()
                .map_err(|error| Failure::new(format!("cannot wait: {error}")))?;
            while let Some(pid) = self.ready.next() {
                let told = self.children.values_mut().find(|child| child.pid() == Some(pid));
                if let Some(child) = told.filter(|child| matches!(child.state, State::Starting(_))) {
                    child.holds();
                    logging::note(&format!("{} is held", child.wanted.title));
                }
            }
            self.reap();
            self.serve_figures();
            let failed = |error| Failure::new(format!("cannot read the signals: {error}"));
            while let Some(signal) = self.signals.next().map_err(failed)? {
                match signal {
                    Signal::SIGHUP => self.reload(),
                    Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT if keep => {
                        self.say(
                            "ends, and everything stays as it is: held, and closed. `httpjail detach --all` opens it",
                        );
                        return Ok(0);
                    }
                    Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT => return self.let_all_go().map(|()| 0),
                    _ => {}
                }
            }
        }
    }

    fn say(&self, text: &str) {
        logging::note(&format!("the node {text}"));
    }

    fn wanted(&self) -> BTreeMap<String, Wanted> {
        attachments::wanted(&self.file, &self.source, &self.mount, &self.changes)
    }

    /// Compares what is wanted with what there is.
    fn look(&mut self) -> Result<(), Failure> {
        self.changes.forget();
        if self.swept.elapsed() > SWEEP {
            self.swept = Instant::now();
            closed::remove_stale().iter().for_each(|left| logging::warn(left, None));
        }
        let wanted = self.wanted();
        for (key, child) in &mut self.children {
            if !wanted.contains_key(key) && child.state != State::Leaving {
                child.leave();
            }
        }
        for (key, wanted) in wanted {
            match self.children.get_mut(&key) {
                None => {
                    self.children.insert(key, Child::new(wanted));
                }
                Some(child) if child.state == State::Leaving || child.wanted == wanted => {}
                Some(child) => {
                    let same = child.wanted.arguments == wanted.arguments;
                    child.wanted = wanted;
                    if !same {
                        // Its programs stay, and keep the cgroup closed until the next one holds it.
                        child.signal(Signal::SIGKILL);
                    }
                }
            }
        }
        self.soon = false;
        let starting = |child: &Child| matches!(child.state, State::Starting(_));
        let mut room = STARTING_MOST.saturating_sub(self.children.values().filter(|child| starting(child)).count());
        let mut gone = Vec::new();
        for (key, child) in &mut self.children {
            match child.state {
                State::Due(at) if child.pid().is_none() => {
                    let prepared = attachments::prepare(child, &self.closer, &self.changes);
                    let started = match prepared {
                        Ok(Start::Now) if at <= Instant::now() && room > 0 => {
                            room -= 1;
                            child.start(&self.source, self.ready.path())
                        }
                        Ok(Start::Soon) => {
                            self.soon = true;
                            Ok(())
                        }
                        Ok(_) => Ok(()),
                        Err(failure) => Err(failure),
                    };
                    if let Err(failure) = started
                        && at <= Instant::now()
                    {
                        failed(child, &failure.message, failure.hint.as_deref());
                    }
                }
                State::Starting(since) if since.elapsed() > START_LIMIT => child.signal(Signal::SIGKILL),
                State::Leaving if child.pid().is_none() => gone.push(key.clone()),
                _ => {}
            }
        }
        for key in gone {
            if let Some(child) = self.children.remove(&key) {
                self.finish(&child);
            }
        }
        Ok(())
    }

    /// Waits until something happens.
    fn wait(&self) -> io::Result<()> {
        // Where there is no endpoint, the signals are watched twice.
        let asks = self.endpoint.as_ref().map_or(self.signals.as_fd(), Endpoint::asks);
        let own = [self.signals.as_fd(), self.changes.as_fd(), self.ready.as_fd(), asks];
        let ended = self.children.values().filter_map(Child::ended);
        let mut polled: Vec<PollFd<'_>> = own
            .into_iter()
            .chain(ended)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let due = self.children.values().filter_map(|child| match child.state {
            State::Due(at) if at > Instant::now() => Some(at.saturating_duration_since(Instant::now())),
            _ => None,
        });
        let limit = due.chain([if self.soon { SOON } else { TICK }]).min().unwrap_or(TICK);
        let limit = PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, limit) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the ends of children.
    fn reap(&mut self) {
        for child in self.children.values_mut() {
            let Some(how) = child.reap() else { continue };
            let gone = child.cgroup.as_ref().is_some_and(|(path, id)| !is_at(path, *id));
            if child.state != State::Leaving && !gone {
                self.figures.restarts += 1;
                failed(child, &format!("its process has ended ({how})"), None);
            } else if child.state != State::Leaving {
                child.state = State::Due(Instant::now());
            }
        }
    }
}

/// Says that a child has failed, once, and when it is tried again.
fn failed(child: &mut Child, why: &str, hint: Option<&str>) {
    let (pause, new) = child.fail(why);
    if new {
        let title = &child.wanted.title;
        let text = format!(
            "{title} is not held, and stays closed: {why}; tried again in {} ms, then less and less often",
            pause.as_millis()
        );
        logging::warn(&text, hint);
    }
}
