//! What the proxy's process may not look up itself, and asks the supervisor for: which program a process runs, which
//! process has a socket open, and the request log when it was moved away.
//!
//! One thread receives the answers. It also receives the command to finish, and notices when the channel is closed. A
//! question of a task holds no thread while it waits for its answer: a burst of connections is a burst of questions.

use crate::sync::lock;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::jail::protocol::policy_file::{self, Change};
use crate::jail::protocol::proxy::{FromProxy, ProxyEnd, ToProxy};
use crate::net::{Asked, Holder, Program, ProgramSource};

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
    waiting: Mutex<HashMap<u64, Asker>>,
    /// Held by the task whose question is being sent: that may block, and then in one thread and not in many.
    sending: Arc<tokio::sync::Mutex<()>>,
    /// The request log that came with the last message, for use after that.
    last_log: Mutex<Option<File>>,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Asker {
    Thread(SyncSender<Answer>),
    Task(oneshot::Sender<Answer>),
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
            sending: Arc::default(),
            last_log: Mutex::new(None),
        }
    }

    /// Passes answers to the threads that wait for them, and new policies to `reload`, with the number by which they were asked
    /// for ([`FromProxy::Reload`]), until the supervisor says that the run is over. `screen` takes where lines
    /// for the user go from now on. Blocks.
    pub(crate) fn listen(&self, mut reload: impl FnMut(Change, Option<u64>), screen: impl Fn(File)) -> Shutdown {
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
                ToProxy::Policy { request_id, error } => reload(policy_file::taken(error, descriptors), request_id),
                ToProxy::Screen => descriptors.into_iter().map(File::from).for_each(&screen),
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

    /// Returns the program of the process `pid`. Blocks.
    pub(crate) fn find_program(&self, pid: u32) -> Option<Program> {
        program(self.ask(|request_id| FromProxy::Program { request_id, pid }))
    }

    /// Returns the process that has the socket with this inode number open. Blocks.
    pub(crate) fn find_holder(&self, socket: u32) -> Option<Holder> {
        holder(self.ask(|request_id| FromProxy::Holder { request_id, socket }))
    }

    /// Wakes all that wait: the supervisor answers no more.
    fn end(&self, last: Shutdown) -> Shutdown {
        self.over.store(true, Ordering::SeqCst);
        self.waiting().clear();
        last
    }

    fn tell(&self, request_id: u64, told: Answer) {
        let asker = self.waiting().remove(&request_id);
        // Telling fails if the asker has stopped waiting.
        match asker {
            Some(Asker::Thread(asker)) => drop(asker.try_send(told)),
            Some(Asker::Task(asker)) => drop(asker.send(told)),
            None => {}
        }
    }

    /// Asks, and waits for the answer. Blocks.
    fn ask(&self, words: impl FnOnce(u64) -> FromProxy) -> Option<Answer> {
        let (asker, answer) = sync_channel(1);
        let waiting = self.begin(Asker::Thread(asker))?;
        let asked = self.channel.send(&words(waiting.request_id));
        let told = asked.ok().and_then(|()| answer.recv_timeout(self.limit()).ok());
        self.impatient.store(told.is_none(), Ordering::Relaxed);
        told
    }

    /// The same for a task, which waits for its answer without a thread.
    async fn ask_from_task(&self, words: impl FnOnce(u64) -> FromProxy) -> Option<Answer> {
        let (asker, answer) = oneshot::channel();
        let waiting = self.begin(Asker::Task(asker))?;
        let (message, channel, sending) = (words(waiting.request_id), self.channel.clone(), self.sending.clone());
        let exchange = async {
            let sending = sending.lock_owned().await;
            let send = move || {
                let sent = channel.send(&message);
                drop(sending);
                sent
            };
            tokio::task::spawn_blocking(send).await.ok()?.ok()?;
            answer.await.ok()
        };
        let told = timeout(self.limit(), exchange).await.ok().flatten();
        self.impatient.store(told.is_none(), Ordering::Relaxed);
        told
    }

    /// Returns the place of a question among those that wait for an answer, unless there will be none.
    fn begin(&self, asker: Asker) -> Option<Waiting<'_>> {
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(request_id, asker);
        let waiting = Waiting {
            client: self,
            request_id,
        };
        // Checked after the insertion: a request that was inserted before `end` cleared the map is woken by it.
        (!self.over.load(Ordering::SeqCst)).then_some(waiting)
    }

    /// Returns how long an answer may take now.
    fn limit(&self) -> Duration {
        match self.impatient.load(Ordering::Relaxed) {
            true => IMPATIENT_LIMIT,
            false => ANSWER_LIMIT,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Asker>> {
        lock(&self.waiting)
    }
}

/// The place of a question among those that wait for an answer.
struct Waiting<'a> {
    client: &'a ProcessInfoClient,
    request_id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.client.waiting().remove(&self.request_id);
    }
}

impl ProgramSource for ProcessInfoClient {
    fn program(&self, pid: u32) -> Asked<'_, Program> {
        let ask = self.ask_from_task(move |request_id| FromProxy::Program { request_id, pid });
        Box::pin(async { program(ask.await) })
    }

    fn holder(&self, socket: u32) -> Asked<'_, Holder> {
        let ask = self.ask_from_task(move |request_id| FromProxy::Holder { request_id, socket });
        Box::pin(async { holder(ask.await) })
    }
}

fn program(answer: Option<Answer>) -> Option<Program> {
    match answer? {
        Answer::Program(program) => program,
        Answer::Log(_) | Answer::Holder(_) => None,
    }
}

fn holder(answer: Option<Answer>) -> Option<Holder> {
    match answer? {
        Answer::Holder(holder) => holder,
        Answer::Log(_) | Answer::Program(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::protocol::channel::pair;
    use std::thread;

    const MANY: u32 = 20;

    #[test]
    fn many_questions_wait_without_a_thread_each() {
        let (supervisor, proxy) = pair().unwrap();
        let client = Arc::new(ProcessInfoClient::new(Arc::new(proxy)));
        let listening = thread::spawn({
            let client = client.clone();
            move || client.listen(|_, _| {}, drop)
        });
        let answering = thread::spawn(move || {
            // None gets an answer before all have asked.
            let asked: Vec<_> = (0..MANY).map(|_| supervisor.receive().unwrap()).collect();
            for question in asked.into_iter().rev() {
                let FromProxy::Program { request_id, pid } = question else {
                    panic!("{question:?}");
                };
                let program = Some(Program {
                    exe: Some(pid.to_string()),
                    ..Program::default()
                });
                supervisor.send(&ToProxy::Program { request_id, program }).unwrap();
            }
        });
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let ask = |pid| {
                let client = client.clone();
                tokio::spawn(async move { client.program(pid).await })
            };
            let all: Vec<_> = (0..MANY).map(ask).collect();
            for (pid, answer) in all.into_iter().enumerate() {
                assert_eq!(answer.await.unwrap().unwrap().exe, Some(pid.to_string()));
            }
            answering.join().unwrap();
            // The supervisor is gone.
            assert_eq!(listening.join().unwrap(), Shutdown::Gone);
            assert_eq!(client.program(1).await, None);
        });
        assert!(client.waiting().is_empty());
    }
}
