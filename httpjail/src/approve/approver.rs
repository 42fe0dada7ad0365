//! What decides about a request, as the queue sees it.

use std::future::Future;
use std::pin::Pin;

use super::decision::ApprovalDecision;
use super::request::ApprovalRequest;

/// A decision that is still awaited.
pub(crate) type DecisionFuture = Pin<Box<dyn Future<Output = ApprovalDecision> + Send>>;

/// Decides about requests: a program, or the process that asks.
pub(crate) trait Approver: Send + Sync + 'static {
    /// Asks about `request`. After the time that a decision may take, the future yields a denial.
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture;
}
