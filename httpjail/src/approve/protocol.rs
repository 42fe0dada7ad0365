//! The messages between the proxy process and the approver: one line of JSON for each request and each decision.

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::decision::ApprovalDecision;
use super::request::ApprovalRequest;

/// Messages that wait to be sent.
pub(super) const QUEUE: usize = 64;

/// A request with its number. Without a request, the message withdraws the request of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestMessage {
    pub(super) id: u64,
    pub(super) request: Option<ApprovalRequest>,
}

/// The decision about the request of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DecisionMessage {
    pub(super) id: u64,
    pub(super) decision: ApprovalDecision,
}

/// Sends the messages of the queue, until it closes or the socket fails.
pub(super) async fn write(mut queue: mpsc::Receiver<Vec<u8>>, mut to: OwnedWriteHalf) {
    while let Some(line) = queue.recv().await {
        if to.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Encodes a message as one line: compact JSON contains no newline.
pub(super) fn line(message: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(message).ok()?;
    line.push(b'\n');
    Some(line)
}
