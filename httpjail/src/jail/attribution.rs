//! Which program a process runs: asked by the proxy, which may not look, and answered by the supervisor, which may.
//!
//! The same thread that takes the answers hears the order to finish, and the end of the line.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::helper::{FromProxy, Line, ToProxy};
use crate::net::{Ancestor, ProgramSource};

/// How long an answer may take: a busy supervisor must not hold up the log.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How far up a line of parents is followed.
const PARENTS_MAX: usize = 8;

/// Asks the supervisor over the proxy's line.
#[derive(Debug)]
pub struct Programs {
    line: Arc<Line>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, SyncSender<Told>>>,
}

/// An answer of the supervisor's.
#[derive(Debug)]
enum Told {
    Executable(Option<String>),
    Parents(Vec<Ancestor>),
}

/// Why the line has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// The command has ended; its exit status.
    Finish(i32),
    /// The supervisor is gone: end at once.
    Gone,
}

impl Programs {
    /// Takes the line over.
    pub fn new(line: Arc<Line>) -> Self {
        Programs {
            line,
            next: AtomicU64::new(0),
            waiting: Mutex::new(HashMap::new()),
        }
    }

    /// Hands the answers to those who wait for them, until the supervisor says that it is over. Blocks.
    pub fn listen(&self) -> Last {
        loop {
            match self.line.receive() {
                Ok(ToProxy::Executable { question, path }) => self.tell(question, Told::Executable(path)),
                Ok(ToProxy::Parents { question, parents }) => self.tell(question, Told::Parents(parents)),
                Ok(ToProxy::Finish { status }) => return Last::Finish(status),
                Ok(ToProxy::Serve { .. }) | Err(_) => return Last::Gone,
            }
        }
    }

    fn tell(&self, question: u64, told: Told) {
        if let Some(asker) = self.waiting().remove(&question) {
            // Nobody waits any more: it took too long.
            let _ = asker.try_send(told);
        }
    }

    fn ask(&self, words: impl FnOnce(u64) -> FromProxy) -> Option<Told> {
        let question = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = sync_channel(1);
        self.waiting().insert(question, asker);
        let asked = self.line.send(&words(question));
        let told = asked.ok().and_then(|()| answer.recv_timeout(ANSWER_LIMIT).ok());
        self.waiting().remove(&question);
        told
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, SyncSender<Told>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who started `pid`, nearest first, as long as they are `inside`.
pub(super) fn parents(pid: u32, inside: impl Fn(u32) -> bool) -> Vec<Ancestor> {
    let mut parents = Vec::new();
    let mut next = parent(pid).filter(|_| inside(pid));
    while let Some(pid) = next.filter(|pid| parents.len() < PARENTS_MAX && inside(*pid)) {
        let file = |name: &str| format!("/proc/{pid}/{name}");
        let exe = fs::read_link(file("exe")).map(|path| path.to_string_lossy().into_owned());
        let name = exe.or_else(|_| Ok::<_, io::Error>(fs::read_to_string(file("comm"))?.trim_end().to_owned()));
        parents.push(Ancestor {
            pid,
            name: name.unwrap_or_default(),
        });
        next = parent(pid);
    }
    parents
}

/// The fourth field of `/proc/PID/stat` (proc(5)). The second may hold anything, blanks and brackets too.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

impl ProgramSource for Programs {
    fn executable(&self, pid: u32) -> Option<String> {
        match self.ask(|question| FromProxy::Executable { question, pid })? {
            Told::Executable(path) => path,
            Told::Parents(_) => None,
        }
    }

    fn parents(&self, pid: u32) -> Vec<Ancestor> {
        match self.ask(|question| FromProxy::Parents { question, pid }) {
            Some(Told::Parents(parents)) => parents,
            _ => Vec::new(),
        }
    }
}
