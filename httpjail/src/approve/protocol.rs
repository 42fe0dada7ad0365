//! What the proxy's process and the approver say to each other: one line of JSON for each request and each decision.

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::decision::ApprovalDecision;
use super::request::ApprovalRequest;

/// Messages on their way to the other process.
pub(super) const QUEUE: usize = 64;

/// A question and its number; without one, the question of that number is withdrawn.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestMessage {
    pub(super) id: u64,
    pub(super) request: Option<ApprovalRequest>,
}

/// The answer to the question of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DecisionMessage {
    pub(super) id: u64,
    pub(super) answer: ApprovalDecision,
}

/// Writes what comes until one side is gone.
pub(super) async fn write(mut queue: mpsc::Receiver<Vec<u8>>, mut to: OwnedWriteHalf) {
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
