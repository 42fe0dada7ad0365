//! Which program a process runs: asked by the proxy, which may not look, and answered by the supervisor, which may.
//!
//! The same thread that takes the answers hears the order to finish, and the end of the line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::helper::{FromProxy, Line, ToProxy};
use super::reload::{self, Change};
use crate::net::ProgramSource;

/// How long an answer may take: a busy supervisor must not hold up the log.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Asks the supervisor over the proxy's line.
#[derive(Debug)]
pub struct Programs {
    line: Arc<Line>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, SyncSender<Option<String>>>>,
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

    /// Hands the answers to those who wait for them, and new policies to `reload`, until the supervisor says that it is
    /// over. Blocks.
    pub fn listen(&self, mut reload: impl FnMut(Change)) -> Last {
        loop {
            let Ok((message, descriptors)) = self.line.receive_with() else {
                return Last::Gone;
            };
            match message {
                ToProxy::Executable { question, path } => {
                    if let Some(asker) = self.waiting().remove(&question) {
                        // Nobody waits any more: it took too long.
                        let _ = asker.try_send(path);
                    }
                }
                ToProxy::Policy { error } => reload(reload::taken(error, descriptors)),
                ToProxy::Finish { status } => return Last::Finish(status),
                ToProxy::Serve { .. } => return Last::Gone,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, SyncSender<Option<String>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgramSource for Programs {
    fn executable(&self, pid: u32) -> Option<String> {
        let question = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = sync_channel(1);
        self.waiting().insert(question, asker);
        let asked = self.line.send(&FromProxy::Executable { question, pid });
        let path = asked.ok().and_then(|()| answer.recv_timeout(ANSWER_LIMIT).ok());
        self.waiting().remove(&question);
        path.flatten()
    }
}
