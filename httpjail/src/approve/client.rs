//! An approver in another process, asked over a socket pair.

use crate::sync::lock;
use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::approver::{Approver, DecisionFuture};
use super::decision::{ApprovalDecision, Denial, GrantDuration};
use super::protocol::{DecisionMessage, QUEUE, RequestMessage, line, write};
use super::request::ApprovalRequest;

/// The proxy process's end of the socket.
pub(crate) struct ApproverClient(Arc<Shared>);

struct Shared {
    next: AtomicU64,
    lines: mpsc::Sender<Vec<u8>>,
    /// `None` after the other process has ended.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<ApprovalDecision>>>>,
}

impl ApproverClient {
    /// Starts to read and write `socket`. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Fails when the runtime cannot use the socket.
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
            // A decision that cannot be parsed ends the connection: its meaning must not be guessed.
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(DecisionMessage { id, decision }) = serde_json::from_str(&line) else {
                    break;
                };
                let approver = reader.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(approver) = approver {
                    let _ = approver.send(decision);
                }
            }
            // The requests that wait see that their sender is dropped.
            reader.waiting().take();
        });
        Ok(ApproverClient(shared))
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<ApprovalDecision>>>> {
        lock(&self.waiting)
    }

    async fn ask(self: &Arc<Self>, request: ApprovalRequest) -> Option<ApprovalDecision> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, decision) = oneshot::channel();
        self.waiting().as_mut()?.insert(id, sender);
        let _withdrawal = Withdrawal { shared: self, id };
        let request = Some(request);
        let line = line(&RequestMessage { id, request })?;
        self.lines.send(line).await.ok()?;
        decision.await.ok()
    }
}

/// Withdraws its request if it is dropped before a decision came.
struct Withdrawal<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        let id = self.id;
        let unanswered = self.shared.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
        if let (Some(_), Some(line)) = (unanswered, line(&RequestMessage { id, request: None })) {
            // If the queue is full, the request stays until it times out.
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
                    Denial::Failed("the process that asks has ended".into()),
                )
            };
            shared.ask(request).await.unwrap_or_else(gone)
        })
    }
}
