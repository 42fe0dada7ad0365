//! Who decides, seen from the queue.

use std::future::Future;
use std::pin::Pin;

use super::decision::ApprovalDecision;
use super::request::ApprovalRequest;

/// An answer on its way.
pub(crate) type DecisionFuture = Pin<Box<dyn Future<Output = ApprovalDecision> + Send>>;

/// Whoever answers.
pub(crate) trait Approver: Send + Sync + 'static {
    /// Asks, and waits as long as an answer may take; then it is a denial.
    fn ask(&self, request: ApprovalRequest) -> DecisionFuture;
}
