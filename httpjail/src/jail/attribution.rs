//! What the proxy's process may not look at or open itself, and asks the supervisor for: which program a process runs, and the
//! request log, once it was moved away.
//!
//! The same thread that takes the answers hears the order to finish, and the end of the line.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::helper::{FromProxy, Line, ToProxy};
use super::reload::{self, Change};
use crate::net::{Ancestor, Program, ProgramSource};

/// How long an answer may take: a busy supervisor must not hold up the log.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How much of a command line is told.
const CMDLINE_BYTES: u64 = 1024;
/// How far up a line of parents is followed.
const PARENTS_MAX: usize = 8;

/// Asks the supervisor over the proxy's line.
#[derive(Debug)]
pub struct Programs {
    line: Arc<Line>,
    next: AtomicU64,
    over: AtomicBool,
    waiting: Mutex<HashMap<u64, SyncSender<Told>>>,
    /// The request log as it was opened last, once nobody answers any more.
    last_log: Mutex<Option<File>>,
}

/// An answer of the supervisor's.
#[derive(Debug)]
enum Told {
    Program(Option<Program>),
    Log(io::Result<File>),
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
            over: AtomicBool::new(false),
            waiting: Mutex::new(HashMap::new()),
            last_log: Mutex::new(None),
        }
    }

    /// Hands the answers to those who wait for them, and new policies to `reload`, until the supervisor says that it is
    /// over. Blocks.
    pub fn listen(&self, mut reload: impl FnMut(Change)) -> Last {
        loop {
            let Ok((message, descriptors)) = self.line.receive_with() else {
                return self.end(Last::Gone);
            };
            match message {
                ToProxy::Program { question, program } => self.tell(question, Told::Program(program)),
                ToProxy::Log { question, error } => {
                    let log = descriptors.into_iter().next().map(File::from);
                    let log = match error {
                        Some(error) => Err(io::Error::other(error)),
                        None => log.ok_or(io::ErrorKind::NotFound.into()),
                    };
                    self.tell(question, Told::Log(log));
                }
                ToProxy::Parents { question, parents } => self.tell(question, Told::Parents(parents)),
                ToProxy::Policy { error } => reload(reload::taken(error, descriptors)),
                ToProxy::Finish { status } => {
                    *lock(&self.last_log) = descriptors.into_iter().next().map(File::from);
                    return self.end(Last::Finish(status));
                }
                ToProxy::Serve { .. } => return self.end(Last::Gone),
            }
        }
    }

    /// The request log, opened anew.
    ///
    /// # Errors
    /// The supervisor's, or that it does not answer.
    pub fn log(&self) -> io::Result<File> {
        match self.ask(|question| FromProxy::Log { question }) {
            Some(Told::Log(log)) => log,
            _ => match &*lock(&self.last_log) {
                Some(log) => log.try_clone(),
                None => Err(io::Error::other("it was moved away, and nobody opens it anew")),
            },
        }
    }

    /// Nobody answers any more: whoever waits need not.
    fn end(&self, last: Last) -> Last {
        self.over.store(true, Ordering::SeqCst);
        self.waiting().clear();
        last
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
        // Looked at after the insertion: whoever misses this is not missed by `end`.
        if self.over.load(Ordering::SeqCst) {
            self.waiting().remove(&question);
            return None;
        }
        let asked = self.line.send(&words(question));
        let told = asked.ok().and_then(|()| answer.recv_timeout(ANSWER_LIMIT).ok());
        self.waiting().remove(&question);
        told
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, SyncSender<Told>>> {
        lock(&self.waiting)
    }
}

/// A panic elsewhere leaves nothing half-done in what these locks guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn program(&self, pid: u32) -> Option<Program> {
        match self.ask(|question| FromProxy::Program { question, pid })? {
            Told::Program(program) => program,
            Told::Log(_) | Told::Parents(_) => None,
        }
    }

    fn parents(&self, pid: u32) -> Vec<Ancestor> {
        match self.ask(|question| FromProxy::Parents { question, pid }) {
            Some(Told::Parents(parents)) => parents,
            _ => Vec::new(),
        }
    }
}

/// What `pid` runs. Looked at first and found to be `is_inside` after: a number that became another's in between tells nothing.
pub(super) fn look(pid: u32, is_inside: impl FnOnce(u32) -> bool) -> Option<Program> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let program = Program {
        exe: exe.map(|path| path.to_string_lossy().into_owned()),
        cmdline: cmdline(pid),
    };
    is_inside(pid).then_some(program)
}

/// proc_pid_cmdline(5): a NUL after each argument, unless the process has written over them.
fn cmdline(pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(CMDLINE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    Some(words(&bytes)).filter(|line| !line.is_empty())
}

fn words(bytes: &[u8]) -> String {
    let most = usize::try_from(CMDLINE_BYTES).unwrap_or(usize::MAX);
    let (bytes, cut) = match bytes.get(..most) {
        Some(start) if bytes.len() > most => (start, "…"),
        _ => (bytes, ""),
    };
    let line = String::from_utf8_lossy(bytes).replace('\0', " ");
    line.trim_end().to_owned() + cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_one_of_some_length() {
        assert_eq!(words(b"curl\0-sS\0https://a.test/\0"), "curl -sS https://a.test/");
        assert_eq!(words(b"npm install"), "npm install");
        assert_eq!(words(b""), "");
        assert_eq!(words(&[b'x'; 2000]), "x".repeat(1024) + "…");
    }

    // Proves: P18.
    #[test]
    fn only_those_inside_are_told_of() {
        let own = std::process::id();
        let program = look(own, |pid| pid == own).unwrap();
        assert_eq!(
            program.exe,
            std::env::current_exe().unwrap().to_str().map(str::to_owned)
        );
        assert!(program.cmdline.unwrap().starts_with(&std::env::args().next().unwrap()));
        assert_eq!(look(own, |_| false), None);
    }
}
