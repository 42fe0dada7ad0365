//! Where requests wait for a decision: identical ones together, a bounded number, and none after the run has ended.

use crate::sync::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::oneshot;

use super::approver::Approver;
use super::decision::{ApprovalDecision, Denial, GrantDuration};
use super::grant::Grant;
use super::request::ApprovalRequest;
use crate::audit::{Admission, Bucket};
use crate::policy::Target;

/// Questions that wait at a time, and requests that wait for one of them.
const WAITING: usize = 32;
const JOINED: usize = 256;

/// Questions that are asked at once, and in each second after that. A person does not read faster.
const BURST: u32 = 32;
const PER_SECOND: u32 = 1;

/// Decisions that are remembered. Any further one holds for its own request alone.
const GRANTS: usize = 4096;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApprovalOutcome {
    /// Forward it; the text says how it was approved, for the log.
    Allowed(String),
    /// Refuse it.
    Denied(Denial),
}

/// The requests of one run that wait for a decision, and the decisions that hold for the run.
pub(crate) struct ApprovalQueue {
    approver: Arc<dyn Approver>,
    state: Mutex<State>,
}

struct State {
    grants: Vec<Grant>,
    waiting: HashMap<Key, Waiting>,
    bucket: Bucket,
    open: bool,
}

/// The requests that wait for one decision. When it is dropped, the question is withdrawn.
struct Waiting {
    requests: Vec<oneshot::Sender<ApprovalOutcome>>,
    _asking: oneshot::Sender<()>,
}

/// One request that waits. A client that gives up drops it; the last one withdraws the question.
struct Waiter<'a> {
    queue: &'a ApprovalQueue,
    key: Key,
    outcome: Option<oneshot::Receiver<ApprovalOutcome>>,
}

/// Two requests with equal keys share one question. The key is all that the prompt shows, except process ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    method: String,
    url: String,
    program: Option<String>,
}

impl ApprovalQueue {
    pub(crate) fn new(approver: Arc<dyn Approver>) -> Arc<ApprovalQueue> {
        Arc::new(ApprovalQueue {
            approver,
            state: Mutex::new(State {
                grants: Vec::new(),
                waiting: HashMap::new(),
                bucket: Bucket::new(BURST, PER_SECOND),
                open: true,
            }),
        })
    }

    /// Returns what was already decided about `target` for the rest of the run.
    pub(crate) fn remembered(&self, target: &Target) -> Option<ApprovalOutcome> {
        self.state().remembered(target.method().as_str(), target.url())
    }

    /// Asks the approver, or joins an identical request, and waits for the decision. Call it within a tokio runtime.
    pub(crate) async fn ask(self: &Arc<Self>, request: ApprovalRequest) -> ApprovalOutcome {
        let Some(mut waiter) = self.enter(request) else {
            return ApprovalOutcome::Denied(Denial::TooMany);
        };
        match &mut waiter.outcome {
            // The sender is dropped without a decision only when the queue's own task ends.
            Some(outcome) => outcome.await.unwrap_or(ApprovalOutcome::Denied(Denial::RunEnded)),
            None => ApprovalOutcome::Denied(Denial::RunEnded),
        }
    }

    /// Denies all requests that wait, and all that come from now on.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.open = false;
        for request in std::mem::take(&mut state.waiting)
            .into_values()
            .flat_map(|waiting| waiting.requests)
        {
            // The client may have given up.
            let _ = request.send(ApprovalOutcome::Denied(Denial::RunEnded));
        }
    }

    /// Returns `None` if too many requests wait.
    fn enter(self: &Arc<Self>, request: ApprovalRequest) -> Option<Waiter<'_>> {
        let (sender, receiver) = oneshot::channel();
        let key = Key {
            method: request.method.clone(),
            url: request.url.clone(),
            program: request
                .program
                .as_ref()
                .map(|program| program.exe.clone().unwrap_or_else(|| program.comm.clone())),
        };
        let waiter = Waiter {
            queue: self,
            key: key.clone(),
            outcome: Some(receiver),
        };
        let mut state = self.state();
        // It may have been decided since the caller looked.
        let remembered = state.remembered(&request.method, &request.url);
        let early = remembered.or_else(|| (!state.open).then_some(ApprovalOutcome::Denied(Denial::RunEnded)));
        if let Some(outcome) = early {
            let _ = sender.send(outcome);
            drop(state);
            return Some(waiter);
        }
        if let Some(others) = state.waiting.get_mut(&key) {
            let room = others.requests.len() < JOINED;
            if room {
                others.requests.push(sender);
            }
            drop(state);
            return room.then_some(waiter);
        }
        if state.waiting.len() >= WAITING || state.bucket.admit(Instant::now()) == Admission::Hold {
            drop(state);
            return None;
        }
        let (asking, withdrawn) = oneshot::channel();
        let waiting = Waiting {
            requests: vec![sender],
            _asking: asking,
        };
        state.waiting.insert(key.clone(), waiting);
        drop(state);
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Nothing is ever sent: it ends when no request waits any more.
                _ = withdrawn => {}
                decision = queue.approver.ask(request.clone()) => queue.finish(&key, &request, decision),
            }
        });
        Some(waiter)
    }

    fn finish(&self, key: &Key, request: &ApprovalRequest, decision: ApprovalDecision) {
        let (allows, duration) = match &decision {
            ApprovalDecision::Allow(duration) => (true, *duration),
            ApprovalDecision::Deny(duration, _) => (false, *duration),
        };
        let mut state = self.state();
        if let (GrantDuration::Run(scope), true) = (duration, state.grants.len() < GRANTS) {
            state.grants.push(Grant::new(allows, request, scope));
        }
        let outcome = match decision {
            ApprovalDecision::Allow(duration) => ApprovalOutcome::Allowed(how(duration, request)),
            ApprovalDecision::Deny(_, denial) => ApprovalOutcome::Denied(denial),
        };
        for request in state
            .waiting
            .remove(key)
            .into_iter()
            .flat_map(|waiting| waiting.requests)
        {
            let _ = request.send(outcome.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// A denial wins over an approval with a wider scope.
    fn remembered(&self, method: &str, url: &str) -> Option<ApprovalOutcome> {
        let about = |allows: bool| {
            let mut grants = self.grants.iter();
            grants.find(|grant| grant.allows == allows && grant.covers(method, url))
        };
        if about(false).is_some() {
            return Some(ApprovalOutcome::Denied(Denial::ByApprover(None)));
        }
        about(true).map(|grant| ApprovalOutcome::Allowed(format!("approved for this run: {}", grant.shown())))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        drop(self.outcome.take());
        let mut state = self.queue.state();
        if let Some(waiting) = state.waiting.get_mut(&self.key) {
            waiting.requests.retain(|request| !request.is_closed());
            if waiting.requests.is_empty() {
                state.waiting.remove(&self.key);
            }
        }
    }
}

fn how(duration: GrantDuration, request: &ApprovalRequest) -> String {
    match duration {
        GrantDuration::Once => "approved once".to_owned(),
        GrantDuration::Run(scope) => format!("approved for this run: {}", Grant::new(true, request, scope).shown()),
    }
}
