//! Where requests wait for an answer: identical ones together, not too many, and none past the end of the run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::approver::Approver;
use super::decision::{ApprovalDecision, Denial, GrantDuration};
use super::grant::Grant;
use super::request::ApprovalRequest;
use crate::audit::{Admission, Bucket};
use crate::policy::Target;

/// Questions that wait at a time, and requests that wait for the answer to one of them.
const WAITING: usize = 32;
const JOINED: usize = 256;

/// Questions asked at once, and in each second after that: a person reads no faster.
const BURST: u32 = 32;
const PER_SECOND: u32 = 1;

/// Answers that are remembered. One more would forget none: it holds for its own request alone.
const GRANTS: usize = 4096;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApprovalOutcome {
    /// Forward it; how it was approved, for the log.
    Allowed(String),
    /// Refuse it.
    Denied(Denial),
}

/// The queue of one run.
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

/// Those who wait for one answer. Dropped, it withdraws the question.
struct Waiting {
    requests: Vec<oneshot::Sender<ApprovalOutcome>>,
    _asking: oneshot::Sender<()>,
}

/// A request's place among them. Dropped by a client that gives up, it makes room, and the last one withdraws the question.
struct Place<'a> {
    queue: &'a ApprovalQueue,
    key: Key,
    answer: Option<oneshot::Receiver<ApprovalOutcome>>,
}

/// What makes two questions one: all that is shown, but for the numbers of the processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    method: String,
    url: String,
    program: Option<String>,
}

impl ApprovalQueue {
    /// A queue whose questions go to `approver`.
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

    /// What has been answered already for the rest of the run.
    pub(crate) fn remembered(&self, target: &Target) -> Option<ApprovalOutcome> {
        self.state().remembered(target.method().as_str(), target.url())
    }

    /// Asks, or joins those who have asked the same, and waits for the answer. Call it within a tokio runtime.
    pub(crate) async fn ask(self: &Arc<Self>, request: ApprovalRequest) -> ApprovalOutcome {
        let Some(mut place) = self.enter(request) else {
            return ApprovalOutcome::Denied(Denial::Crowded);
        };
        match &mut place.answer {
            // Dropped unanswered only with the queue's own task.
            Some(answer) => answer.await.unwrap_or(ApprovalOutcome::Denied(Denial::Over)),
            None => ApprovalOutcome::Denied(Denial::Over),
        }
    }

    /// Denies all who wait, and from now on whoever comes.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.open = false;
        for request in std::mem::take(&mut state.waiting)
            .into_values()
            .flat_map(|waiting| waiting.requests)
        {
            // Whoever asked may have gone.
            let _ = request.send(ApprovalOutcome::Denied(Denial::Over));
        }
    }

    /// `None`: there is no room.
    fn enter(self: &Arc<Self>, request: ApprovalRequest) -> Option<Place<'_>> {
        let (sender, receiver) = oneshot::channel();
        let key = Key {
            method: request.method.clone(),
            url: request.url.clone(),
            program: request
                .program
                .as_ref()
                .map(|program| program.exe.clone().unwrap_or_else(|| program.comm.clone())),
        };
        let place = Place {
            queue: self,
            key: key.clone(),
            answer: Some(receiver),
        };
        let mut state = self.state();
        // Answered since it was looked for.
        let remembered = state.remembered(&request.method, &request.url);
        let early = remembered.or_else(|| (!state.open).then_some(ApprovalOutcome::Denied(Denial::Over)));
        if let Some(outcome) = early {
            let _ = sender.send(outcome);
            drop(state);
            return Some(place);
        }
        if let Some(others) = state.waiting.get_mut(&key) {
            let room = others.requests.len() < JOINED;
            if room {
                others.requests.push(sender);
            }
            drop(state);
            return room.then_some(place);
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
                // Nothing is ever sent: it ends when nobody waits any more.
                _ = withdrawn => {}
                answer = queue.approver.ask(request.clone()) => queue.finish(&key, &request, answer),
            }
        });
        Some(place)
    }

    fn finish(&self, key: &Key, request: &ApprovalRequest, answer: ApprovalDecision) {
        let (allows, span) = match &answer {
            ApprovalDecision::Allow(span) => (true, *span),
            ApprovalDecision::Deny(span, _) => (false, *span),
        };
        let mut state = self.state();
        if let (GrantDuration::Run(scope), true) = (span, state.grants.len() < GRANTS) {
            state.grants.push(Grant::new(allows, request, scope));
        }
        let outcome = match answer {
            ApprovalDecision::Allow(span) => ApprovalOutcome::Allowed(how(span, request)),
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A denial wins over an approval that is wider.
    fn remembered(&self, method: &str, url: &str) -> Option<ApprovalOutcome> {
        let about = |allows: bool| {
            let mut grants = self.grants.iter();
            grants.find(|grant| grant.allows == allows && grant.covers(method, url))
        };
        if about(false).is_some() {
            return Some(ApprovalOutcome::Denied(Denial::Said(None)));
        }
        about(true).map(|grant| ApprovalOutcome::Allowed(format!("approved for this run: {}", grant.shown())))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        drop(self.answer.take());
        let mut state = self.queue.state();
        if let Some(waiting) = state.waiting.get_mut(&self.key) {
            waiting.requests.retain(|request| !request.is_closed());
            if waiting.requests.is_empty() {
                state.waiting.remove(&self.key);
            }
        }
    }
}

fn how(span: GrantDuration, request: &ApprovalRequest) -> String {
    match span {
        GrantDuration::Once => "approved once".to_owned(),
        GrantDuration::Run(scope) => format!("approved for this run: {}", Grant::new(true, request, scope).shown()),
    }
}
