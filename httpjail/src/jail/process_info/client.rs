//! What the proxy's process may not look up itself, and asks the supervisor for: which program a process runs, which
//! process has a socket open, and the request log when it was moved away.
//!
//! One thread receives the answers. It also receives the command to finish, and notices when the channel is closed.

use crate::sync::lock;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::jail::protocol::policy_file::{self, Change};
use crate::jail::protocol::proxy::{FromProxy, ProxyEnd, ToProxy};
use crate::net::{Holder, Program, ProgramSource};

/// How long an answer may take. On a machine with a hundred runnable processes a processor it takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The limit after a request has timed out, until one is answered: a stopped supervisor must not hold up every request.
const IMPATIENT_LIMIT: Duration = Duration::from_secs(1);

/// Asks the supervisor over the proxy's channel.
#[derive(Debug)]
pub(crate) struct ProcessInfoClient {
    channel: Arc<ProxyEnd>,
    next: AtomicU64,
    over: AtomicBool,
    /// Whether the latest request timed out.
    impatient: AtomicBool,
    waiting: Mutex<HashMap<u64, SyncSender<Answer>>>,
    /// The request log that came with the last message, for use after that.
    last_log: Mutex<Option<File>>,
}

/// An answer of the supervisor.
#[derive(Debug)]
enum Answer {
    Program(Option<Program>),
    Log(io::Result<File>),
    Holder(Option<Holder>),
}

/// Why no more messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The command has ended; its exit status.
    Finish(i32),
    /// The supervisor is gone: end at once.
    Gone,
}

impl ProcessInfoClient {
    /// Makes a client that reads this channel.
    pub(crate) fn new(channel: Arc<ProxyEnd>) -> Self {
        ProcessInfoClient {
            channel,
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            waiting: Mutex::new(HashMap::new()),
            last_log: Mutex::new(None),
        }
    }

    /// Passes answers to the threads that wait for them, and new policies to `reload`, until the supervisor says that the
    /// run is over. Blocks.
    pub(crate) fn listen(&self, mut reload: impl FnMut(Change)) -> Shutdown {
        loop {
            let Ok((message, descriptors)) = self.channel.receive_with() else {
                return self.end(Shutdown::Gone);
            };
            match message {
                ToProxy::Program { request_id, program } => self.tell(request_id, Answer::Program(program)),
                ToProxy::Log { request_id, error } => {
                    let log = descriptors.into_iter().next().map(File::from);
                    let log = match error {
                        Some(error) => Err(io::Error::other(error)),
                        None => log.ok_or(io::ErrorKind::NotFound.into()),
                    };
                    self.tell(request_id, Answer::Log(log));
                }
                ToProxy::Holder { request_id, holder } => self.tell(request_id, Answer::Holder(holder)),
                ToProxy::Policy { error } => reload(policy_file::taken(error, descriptors)),
                ToProxy::Finish { status } => {
                    *lock(&self.last_log) = descriptors.into_iter().next().map(File::from);
                    return self.end(Shutdown::Finish(status));
                }
                ToProxy::Serve { .. } => return self.end(Shutdown::Gone),
            }
        }
    }

    /// Returns the request log, opened again.
    ///
    /// # Errors
    /// The supervisor's error, or that it does not answer.
    pub(crate) fn log(&self) -> io::Result<File> {
        match self.ask(|request_id| FromProxy::Log { request_id }) {
            Some(Answer::Log(log)) => log,
            _ => match &*lock(&self.last_log) {
                Some(log) => log.try_clone(),
                None => Err(io::Error::other("it was moved away and cannot be opened again")),
            },
        }
    }

    /// Wakes all threads that wait: the supervisor answers no more.
    fn end(&self, last: Shutdown) -> Shutdown {
        self.over.store(true, Ordering::SeqCst);
        self.waiting().clear();
        last
    }

    fn tell(&self, request_id: u64, told: Answer) {
        if let Some(asker) = self.waiting().remove(&request_id) {
            // This fails if the thread has stopped waiting.
            let _ = asker.try_send(told);
        }
    }

    fn ask(&self, words: impl FnOnce(u64) -> FromProxy) -> Option<Answer> {
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = sync_channel(1);
        self.waiting().insert(request_id, asker);
        // Checked after the insertion: a request that was inserted before `end` cleared the map is woken by it.
        if self.over.load(Ordering::SeqCst) {
            self.waiting().remove(&request_id);
            return None;
        }
        let asked = self.channel.send(&words(request_id));
        let impatient = self.impatient.load(Ordering::Relaxed);
        let limit = if impatient { IMPATIENT_LIMIT } else { ANSWER_LIMIT };
        let told = asked.ok().and_then(|()| answer.recv_timeout(limit).ok());
        self.impatient.store(told.is_none(), Ordering::Relaxed);
        self.waiting().remove(&request_id);
        told
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, SyncSender<Answer>>> {
        lock(&self.waiting)
    }
}

impl ProgramSource for ProcessInfoClient {
    fn program(&self, pid: u32) -> Option<Program> {
        match self.ask(|request_id| FromProxy::Program { request_id, pid })? {
            Answer::Program(program) => program,
            Answer::Log(_) | Answer::Holder(_) => None,
        }
    }

    fn holder(&self, socket: u32) -> Option<Holder> {
        match self.ask(|request_id| FromProxy::Holder { request_id, socket })? {
            Answer::Holder(holder) => holder,
            Answer::Log(_) | Answer::Program(_) => None,
        }
    }
}
