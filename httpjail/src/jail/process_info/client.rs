//! What the proxy's process may not look at or open itself, and asks the supervisor for: which program a process runs, who has
//! a socket open, and the request log, once it was moved away.
//!
//! The same thread that takes the answers hears the order to finish, and the end of the line.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::jail::protocol::policy_file::{self, Change};
use crate::jail::protocol::proxy::{FromProxy, ProxyEnd, ToProxy};
use crate::net::{Holder, Program, ProgramSource};

/// How long an answer may take: on a machine with a hundred times more to run than it has processors it takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The same once nobody has answered in that time, until somebody does: a stopped supervisor must not hold everything up.
const IMPATIENT_LIMIT: Duration = Duration::from_secs(1);

/// Asks the supervisor over the proxy's line.
#[derive(Debug)]
pub(crate) struct ProcessInfoClient {
    line: Arc<ProxyEnd>,
    next: AtomicU64,
    over: AtomicBool,
    /// Whether the latest request_id that was waited for has found no answer.
    impatient: AtomicBool,
    waiting: Mutex<HashMap<u64, SyncSender<Answer>>>,
    /// The request log as it was opened last, once nobody answers any more.
    last_log: Mutex<Option<File>>,
}

/// An answer of the supervisor's.
#[derive(Debug)]
enum Answer {
    Program(Option<Program>),
    Log(io::Result<File>),
    Holder(Option<Holder>),
}

/// Why the line has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The command has ended; its exit status.
    Finish(i32),
    /// The supervisor is gone: end at once.
    Gone,
}

impl ProcessInfoClient {
    /// Takes the line over.
    pub(crate) fn new(line: Arc<ProxyEnd>) -> Self {
        ProcessInfoClient {
            line,
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            waiting: Mutex::new(HashMap::new()),
            last_log: Mutex::new(None),
        }
    }

    /// Hands the answers to those who wait for them, and new policies to `reload`, until the supervisor says that it is
    /// over. Blocks.
    pub(crate) fn listen(&self, mut reload: impl FnMut(Change)) -> Shutdown {
        loop {
            let Ok((message, descriptors)) = self.line.receive_with() else {
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

    /// The request log, opened anew.
    ///
    /// # Errors
    /// The supervisor's, or that it does not answer.
    pub(crate) fn log(&self) -> io::Result<File> {
        match self.ask(|request_id| FromProxy::Log { request_id }) {
            Some(Answer::Log(log)) => log,
            _ => match &*lock(&self.last_log) {
                Some(log) => log.try_clone(),
                None => Err(io::Error::other("it was moved away and cannot be opened again")),
            },
        }
    }

    /// Nobody answers any more: whoever waits need not.
    fn end(&self, last: Shutdown) -> Shutdown {
        self.over.store(true, Ordering::SeqCst);
        self.waiting().clear();
        last
    }

    fn tell(&self, request_id: u64, told: Answer) {
        if let Some(asker) = self.waiting().remove(&request_id) {
            // Nobody waits any more: it took too long.
            let _ = asker.try_send(told);
        }
    }

    fn ask(&self, words: impl FnOnce(u64) -> FromProxy) -> Option<Answer> {
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = sync_channel(1);
        self.waiting().insert(request_id, asker);
        // Looked at after the insertion: whoever misses this is not missed by `end`.
        if self.over.load(Ordering::SeqCst) {
            self.waiting().remove(&request_id);
            return None;
        }
        let asked = self.line.send(&words(request_id));
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

/// A panic elsewhere leaves nothing half-done in what these locks guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
