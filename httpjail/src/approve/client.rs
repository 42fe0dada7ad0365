//! Asking another process, over a socket pair.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::approver::{Approver, DecisionFuture};
use super::decision::{ApprovalDecision, Denial, GrantDuration};
use super::protocol::{DecisionMessage, QUEUE, RequestMessage, line, write};
use super::request::ApprovalRequest;

/// The other process, as the one that asks it sees it.
pub(crate) struct ApproverClient(Arc<Shared>);

struct Shared {
    next: AtomicU64,
    lines: mpsc::Sender<Vec<u8>>,
    /// `None` once the other process has gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<ApprovalDecision>>>>,
}

impl ApproverClient {
    /// Takes the socket over. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    pub(crate) fn start(socket: Socket) -> io::Result<ApproverClient> {
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
                let Ok(DecisionMessage { id, answer }) = serde_json::from_str(&line) else {
                    break;
                };
                let approver = reader.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(approver) = approver {
                    let _ = approver.send(answer);
                }
            }
            // Whoever waits is told by the drop.
            reader.waiting().take();
        });
        Ok(ApproverClient(shared))
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<ApprovalDecision>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self: &Arc<Self>, request: ApprovalRequest) -> Option<ApprovalDecision> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().as_mut()?.insert(id, sender);
        let _withdrawal = Withdrawal { shared: self, id };
        let request = Some(request);
        let line = line(&RequestMessage { id, request })?;
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
        if let (Some(_), Some(line)) = (unanswered, line(&RequestMessage { id, request: None })) {
            // Without room it stays until its time is up.
            let _ = self.shared.lines.try_send(line);
        }
    }
}

impl Approver for ApproverClient {
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture {
        let shared = self.0.clone();
        Box::pin(async move {
            let gone = || {
                ApprovalDecision::Deny(
                    GrantDuration::Once,
                    Denial::Failed("the process that asks is gone".into()),
                )
            };
            shared.ask(request).await.unwrap_or_else(gone)
        })
    }
}
