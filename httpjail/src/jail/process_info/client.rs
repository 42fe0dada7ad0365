//! What the proxy's process may not look at or open itself, and asks the supervisor for: which program a process runs, who has
//! a socket open, and the request log, once it was moved away.
//!
//! The same thread that takes the answers hears the order to finish, and the end of the line.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::jail::process::proxy::{FromProxy, Line, ToProxy};
use crate::jail::supervisor::policy_watch::{self, Change};
use crate::net::{Ancestor, Holder, Program, ProgramSource};

/// How long an answer may take: on a machine with a hundred times more to run than it has processors it takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The same once nobody has answered in that time, until somebody does: a stopped supervisor must not hold everything up.
const IMPATIENT_LIMIT: Duration = Duration::from_secs(1);

/// How much of a command line is told.
const CMDLINE_BYTES: usize = 1024;
/// How far up a line of parents is followed.
const PARENTS_MAX: usize = 8;

/// Asks the supervisor over the proxy's line.
#[derive(Debug)]
pub(crate) struct Programs {
    line: Arc<Line>,
    next: AtomicU64,
    over: AtomicBool,
    /// Whether the latest question that was waited for has found no answer.
    impatient: AtomicBool,
    waiting: Mutex<HashMap<u64, SyncSender<Told>>>,
    /// The request log as it was opened last, once nobody answers any more.
    last_log: Mutex<Option<File>>,
}

/// An answer of the supervisor's.
#[derive(Debug)]
enum Told {
    Program(Option<Program>),
    Log(io::Result<File>),
    Holder(Option<Holder>),
}

/// Why the line has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// The command has ended; its exit status.
    Finish(i32),
    /// The supervisor is gone: end at once.
    Gone,
}

impl Programs {
    /// Takes the line over.
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Programs {
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
    pub(crate) fn listen(&self, mut reload: impl FnMut(Change)) -> Last {
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
                ToProxy::Holder { question, holder } => self.tell(question, Told::Holder(holder)),
                ToProxy::Policy { error } => reload(policy_watch::taken(error, descriptors)),
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
    pub(crate) fn log(&self) -> io::Result<File> {
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
        let impatient = self.impatient.load(Ordering::Relaxed);
        let limit = if impatient { IMPATIENT_LIMIT } else { ANSWER_LIMIT };
        let told = asked.ok().and_then(|()| answer.recv_timeout(limit).ok());
        self.impatient.store(told.is_none(), Ordering::Relaxed);
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

impl ProgramSource for Programs {
    fn program(&self, pid: u32) -> Option<Program> {
        match self.ask(|question| FromProxy::Program { question, pid })? {
            Told::Program(program) => program,
            Told::Log(_) | Told::Holder(_) => None,
        }
    }

    fn holder(&self, socket: u32) -> Option<Holder> {
        match self.ask(|question| FromProxy::Holder { question, socket })? {
            Told::Holder(holder) => holder,
            Told::Log(_) | Told::Program(_) => None,
        }
    }
}

/// What `pid` runs. `words` reads its command line. `line` tells who is above a process that is one of the jail's, nearest first, and is asked after the look:
/// a number that became another's in between tells nothing.
pub(crate) fn look(
    pid: u32,
    words: impl FnOnce(u32) -> Option<String>,
    line: impl FnOnce(u32) -> Option<Vec<u32>>,
) -> Option<Program> {
    let (exe, cmdline) = (exe(pid), words(pid));
    let parents = line(pid)?.into_iter().take(PARENTS_MAX).map(|pid| Ancestor {
        pid,
        name: exe_or_comm(pid),
    });
    Some(Program {
        exe,
        cmdline,
        parents: parents.collect(),
    })
}

fn exe_or_comm(pid: u32) -> String {
    exe(pid).or_else(|| comm(pid)).unwrap_or_default()
}

fn exe(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

/// The name of a process's first thread.
pub(crate) fn comm(pid: u32) -> Option<String> {
    let comm = read::<64>(pid, "comm")?;
    Some(String::from_utf8_lossy(&comm).trim_end().to_owned())
}

/// The fourth field of `/proc/PID/stat` (proc(5)). The second may hold anything, blanks and brackets too.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = read::<512>(pid, "stat")?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// proc_pid_cmdline(5): a NUL after each argument, unless the process has written over them. May be kept from coming back
/// ([`super::cmdline_reader`]).
pub(crate) fn cmdline(pid: u32) -> Option<String> {
    let bytes = read::<{ CMDLINE_BYTES + 1 }>(pid, "cmdline")?;
    Some(words(&bytes)).filter(|line| !line.is_empty())
}

/// The beginning of a file of `/proc/PID`. One read gives all of it that there is room for.
pub(crate) fn read<const ROOM: usize>(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = [0; ROOM];
    let length = File::open(format!("/proc/{pid}/{name}")).ok()?.read(&mut bytes).ok()?;
    bytes.get(..length).map(<[u8]>::to_vec)
}

fn words(bytes: &[u8]) -> String {
    let (bytes, cut) = match bytes.get(..CMDLINE_BYTES) {
        Some(start) if bytes.len() > CMDLINE_BYTES => (start, "…"),
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
        let program = look(own, cmdline, |pid| (pid == own).then(Vec::new)).unwrap();
        assert_eq!(
            program.exe,
            std::env::current_exe().unwrap().to_str().map(str::to_owned)
        );
        assert!(program.cmdline.unwrap().starts_with(&std::env::args().next().unwrap()));
        assert_eq!(look(own, cmdline, |_| None), None);
    }
}
