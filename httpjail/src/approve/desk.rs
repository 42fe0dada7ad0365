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
pub(crate) enum Ruling {
    /// Forward it; how it was approved, for the log.
    Allowed(String),
    /// Refuse it.
    Denied(Denial),
}

/// The desk of one run.
pub(crate) struct Desk {
    asker: Arc<dyn Asker>,
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
    requests: Vec<oneshot::Sender<Ruling>>,
    _asking: oneshot::Sender<()>,
}

/// A request's place among them. Dropped by a client that gives up, it makes room, and the last one withdraws the question.
struct Place<'a> {
    desk: &'a Desk,
    key: Key,
    answer: Option<oneshot::Receiver<Ruling>>,
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
    pub(crate) fn new(asker: Arc<dyn Asker>) -> Arc<Desk> {
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
    pub(crate) fn settled(&self, target: &Target) -> Option<Ruling> {
        self.state().settled(target.method().as_str(), target.url())
    }

    /// Asks, or joins those who have asked the same, and waits for the answer. Call it within a tokio runtime.
    pub(crate) async fn ask(self: &Arc<Self>, question: Question) -> Ruling {
        let Some(mut place) = self.enter(question) else {
            return Ruling::Denied(Denial::Crowded);
        };
        match &mut place.answer {
            // Dropped unanswered only with the desk's own task.
            Some(answer) => answer.await.unwrap_or(Ruling::Denied(Denial::Over)),
            None => Ruling::Denied(Denial::Over),
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
            let _ = request.send(Ruling::Denied(Denial::Over));
        }
    }

    /// `None`: there is no room.
    fn enter(self: &Arc<Self>, question: Question) -> Option<Place<'_>> {
        let (sender, receiver) = oneshot::channel();
        let key = Key {
            method: question.method.clone(),
            url: question.url.clone(),
            program: question
                .program
                .as_ref()
                .map(|program| program.exe.clone().unwrap_or_else(|| program.comm.clone())),
        };
        let place = Place {
            desk: self,
            key: key.clone(),
            answer: Some(receiver),
        };
        let mut state = self.state();
        // Answered since it was looked for.
        let settled = state.settled(&question.method, &question.url);
        let early = settled.or_else(|| (!state.open).then_some(Ruling::Denied(Denial::Over)));
        if let Some(ruling) = early {
            let _ = sender.send(ruling);
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
        let desk = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Nothing is ever sent: it ends when nobody waits any more.
                _ = withdrawn => {}
                answer = desk.asker.ask(question.clone()) => desk.settle(&key, &question, answer),
            }
        });
        Some(place)
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
        for request in state
            .waiting
            .remove(key)
            .into_iter()
            .flat_map(|waiting| waiting.requests)
        {
            let _ = request.send(ruling.clone());
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

impl Drop for Place<'_> {
    fn drop(&mut self) {
        drop(self.answer.take());
        let mut state = self.desk.state();
        if let Some(waiting) = state.waiting.get_mut(&self.key) {
            waiting.requests.retain(|request| !request.is_closed());
            if waiting.requests.is_empty() {
                state.waiting.remove(&self.key);
            }
        }
    }
}

fn how(span: Span, question: &Question) -> String {
    match span {
        Span::Once => "approved once".to_owned(),
        Span::Run(extent) => format!("approved for this run: {}", Grant::new(true, question, extent).shown()),
    }
}
