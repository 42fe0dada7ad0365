//! Where requests wait for an answer: identical ones together, not too many, and none past the end of the run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Answer, Asker, Denial, Grant, Question, Span};
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
pub enum Ruling {
    /// Forward it; how it was approved, for the log.
    Allowed(String),
    /// Refuse it.
    Denied(Denial),
}

/// The desk of one run.
pub struct Desk {
    asker: Arc<dyn Asker>,
    state: Mutex<State>,
}

struct State {
    grants: Vec<Grant>,
    waiting: HashMap<Key, Vec<oneshot::Sender<Ruling>>>,
    bucket: Bucket,
    open: bool,
}

/// What makes two questions one: all that is shown, but for the numbers of the processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    method: String,
    url: String,
    program: Option<String>,
}

impl Desk {
    /// A desk whose questions go to `asker`.
    pub fn new(asker: Arc<dyn Asker>) -> Arc<Desk> {
        Arc::new(Desk {
            asker,
            state: Mutex::new(State {
                grants: Vec::new(),
                waiting: HashMap::new(),
                bucket: Bucket::new(BURST, PER_SECOND),
                open: true,
            }),
        })
    }

    /// What has been answered already for the rest of the run.
    pub fn settled(&self, target: &Target) -> Option<Ruling> {
        self.state().settled(target.method().as_str(), target.url())
    }

    /// Asks, or joins those who have asked the same, and waits for the answer. Call it within a tokio runtime.
    pub async fn ask(self: &Arc<Self>, question: Question) -> Ruling {
        let Some(answer) = self.enter(question) else {
            return Ruling::Denied(Denial::Crowded);
        };
        // Dropped unanswered only with the desk's own task.
        answer.await.unwrap_or(Ruling::Denied(Denial::Over))
    }

    /// Denies all who wait, and from now on whoever comes.
    pub fn close(&self) {
        let mut state = self.state();
        state.open = false;
        for waiting in std::mem::take(&mut state.waiting).into_values().flatten() {
            // Whoever asked may have gone.
            let _ = waiting.send(Ruling::Denied(Denial::Over));
        }
    }

    /// `None`: there is no room.
    fn enter(self: &Arc<Self>, question: Question) -> Option<oneshot::Receiver<Ruling>> {
        let (sender, receiver) = oneshot::channel();
        let key = Key {
            method: question.method.clone(),
            url: question.url.clone(),
            program: question
                .program
                .as_ref()
                .map(|program| program.exe.clone().unwrap_or_else(|| program.comm.clone())),
        };
        let mut state = self.state();
        // Answered since it was looked for.
        let settled = state.settled(&question.method, &question.url);
        let early = settled.or_else(|| (!state.open).then_some(Ruling::Denied(Denial::Over)));
        if let Some(ruling) = early {
            let _ = sender.send(ruling);
            return Some(receiver);
        }
        if let Some(others) = state.waiting.get_mut(&key) {
            if others.len() >= JOINED {
                return None;
            }
            others.push(sender);
            return Some(receiver);
        }
        if state.waiting.len() >= WAITING || state.bucket.admit(Instant::now()) == Admission::Hold {
            return None;
        }
        state.waiting.insert(key.clone(), vec![sender]);
        drop(state);
        let desk = self.clone();
        tokio::spawn(async move {
            let answer = desk.asker.ask(question.clone()).await;
            desk.settle(&key, &question, answer);
        });
        Some(receiver)
    }

    fn settle(&self, key: &Key, question: &Question, answer: Answer) {
        let (allows, span) = match &answer {
            Answer::Allow(span) => (true, *span),
            Answer::Deny(span, _) => (false, *span),
        };
        let mut state = self.state();
        if let (Span::Run(extent), true) = (span, state.grants.len() < GRANTS) {
            state.grants.push(Grant::new(allows, question, extent));
        }
        let ruling = match answer {
            Answer::Allow(span) => Ruling::Allowed(how(span, question)),
            Answer::Deny(_, denial) => Ruling::Denied(denial),
        };
        for waiting in state.waiting.remove(key).into_iter().flatten() {
            let _ = waiting.send(ruling.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A denial wins over an approval that is wider.
    fn settled(&self, method: &str, url: &str) -> Option<Ruling> {
        let about = |allows: bool| {
            let mut grants = self.grants.iter();
            grants.find(|grant| grant.allows == allows && grant.covers(method, url))
        };
        if about(false).is_some() {
            return Some(Ruling::Denied(Denial::Said(None)));
        }
        about(true).map(|grant| Ruling::Allowed(format!("approved for this run: {}", grant.shown())))
    }
}

fn how(span: Span, question: &Question) -> String {
    match span {
        Span::Once => "approved once".to_owned(),
        Span::Run(extent) => format!(
            "approved for this run: {}",
            Grant::new(true, question, extent).shown()
        ),
    }
}
