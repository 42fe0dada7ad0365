//! Asking another process: one line of JSON for each question and each answer, over a socket pair.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::{Answer, Answering, Asker, Denial, Question, Span};

/// Messages on their way to the other process.
const QUEUE: usize = 64;

/// A question and its number; without one, the question of that number is withdrawn.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: u64,
    pub(super) question: Option<Question>,
}

/// The answer to the question of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) id: u64,
    pub(super) answer: Answer,
}

/// The other process, as the one that asks it sees it.
pub(crate) struct Remote(Arc<Shared>);

struct Shared {
    next: AtomicU64,
    lines: mpsc::Sender<Vec<u8>>,
    /// `None` once the other process has gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
}

impl Remote {
    /// Takes the socket over. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    pub(crate) fn start(socket: Socket) -> io::Result<Remote> {
        socket.set_nonblocking(true)?;
        let (from, to) = UnixStream::from_std(socket)?.into_split();
        let (lines, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            next: AtomicU64::new(0),
            lines,
            waiting: Mutex::new(Some(HashMap::new())),
        });
        tokio::spawn(write(queue, to));
        let reader = shared.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            // An answer that cannot be read ends the line: what it was meant to say must not be guessed.
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(Answered { id, answer }) = serde_json::from_str(&line) else {
                    break;
                };
                let asker = reader.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(asker) = asker {
                    let _ = asker.send(answer);
                }
            }
            // Whoever waits is told by the drop.
            reader.waiting().take();
        });
        Ok(Remote(shared))
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self: &Arc<Self>, question: Question) -> Option<Answer> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().as_mut()?.insert(id, sender);
        let _withdrawal = Withdrawal { shared: self, id };
        let question = Some(question);
        let line = line(&Asked { id, question })?;
        self.lines.send(line).await.ok()?;
        answer.await.ok()
    }
}

/// Dropped before there was an answer, it takes the question back.
struct Withdrawal<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        let id = self.id;
        let unanswered = self.shared.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
        if let (Some(_), Some(line)) = (unanswered, line(&Asked { id, question: None })) {
            // Without room it stays until its time is up.
            let _ = self.shared.lines.try_send(line);
        }
    }
}

impl Asker for Remote {
    fn ask(&self, question: Question) -> Answering {
        let shared = self.0.clone();
        Box::pin(async move {
            let gone = || Answer::Deny(Span::Once, Denial::Failed("the process that asks is gone".into()));
            shared.ask(question).await.unwrap_or_else(gone)
        })
    }
}

/// The other process's side: has `asker` answer what comes, until the end of the line.
///
/// # Errors
/// Those of the socket, and for what is no question.
pub(crate) async fn serve(socket: Socket, asker: Arc<dyn Asker>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let (from, to) = UnixStream::from_std(socket)?.into_split();
    let (lines, queue) = mpsc::channel(QUEUE);
    tokio::select! {
        asked = answer_all(from, asker, lines) => asked,
        () = write(queue, to) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn answer_all(from: OwnedReadHalf, asker: Arc<dyn Asker>, lines: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut questions = BufReader::new(from).lines();
    // Dropped with this function, and all that is being asked with it.
    let mut tasks = JoinSet::new();
    let mut asking = HashMap::new();
    while let Some(text) = questions.next_line().await? {
        while tasks.try_join_next().is_some() {}
        asking.retain(|_, task: &mut AbortHandle| !task.is_finished());
        let Asked { id, question } = serde_json::from_str(&text)?;
        let Some(question) = question else {
            if let Some(task) = asking.remove(&id) {
                task.abort();
            }
            continue;
        };
        let (answer, lines) = (asker.ask(question), lines.clone());
        let task = tasks.spawn(async move {
            let answer = answer.await;
            if let Some(line) = line(&Answered { id, answer }) {
                // Nobody is there to hear it: the run is over.
                let _ = lines.send(line).await;
            }
        });
        asking.insert(id, task);
    }
    Ok(())
}

async fn write(mut queue: mpsc::Receiver<Vec<u8>>, mut to: OwnedWriteHalf) {
    while let Some(line) = queue.recv().await {
        if to.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// As JSON, which has no newline in it, and a newline.
pub(super) fn line(message: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(message).ok()?;
    line.push(b'\n');
    Some(line)
}
