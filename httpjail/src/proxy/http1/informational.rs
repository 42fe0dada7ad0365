//! What an upstream says before it answers: 1xx responses (RFC 9110 section 15.2).
//!
//! hyper's client tells of them over HTTP/1, and its server cannot send any; so [`crate::proxy::downstream::http1_gate`] writes them itself,
//! between hyper's answers. Over HTTP/2 hyper does neither: there they end here, though a proxy ought to pass them on. What
//! is lost are hints. A server that says `100 Continue` sets an upload going that waited for it.

use crate::proxy::downstream::http1_gate::Aside;
use crate::proxy::http1::headers;
use http::{HeaderMap, Request, StatusCode, Version};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use tokio::sync::{Notify, oneshot};

/// So many come before an answer at most: one each 20 seconds (WebDAV's `102 Processing`) for some hours. Whoever sends more
/// wants no answer to be read.
const INTERIMS_MAX: usize = 1000;

/// What is to be written to the client before the answer to its request.
#[derive(Default)]
pub(crate) struct Interims(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Which request of the connection is being answered; what belongs to an earlier one comes too late.
    request: u64,
    open: bool,
    heads: VecDeque<Vec<u8>>,
    writer: Option<Waker>,
}

/// How many bytes of heads may wait to be written.
const WAITING_MAX: usize = 64 * 1024;

impl Interims {
    /// A request begins.
    pub(crate) fn open(&self, version: Version) {
        let mut waiting = self.lock();
        waiting.request += 1;
        // A client of 1.0 takes the first head that comes for the answer.
        waiting.open = version == Version::HTTP_11;
        waiting.heads.clear();
    }

    /// Its answer begins, right after what has come so far.
    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// The next head to be written. If there is none `cx` is woken when one comes.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let next = waiting.heads.pop_front();
        if next.is_none() && waiting.open {
            match &mut waiting.writer {
                Some(writer) => writer.clone_from(cx.waker()),
                writer => *writer = Some(cx.waker().clone()),
            }
        }
        next
    }

    fn put(&self, request: u64, head: Vec<u8>) {
        let mut waiting = self.lock();
        let held: usize = waiting.heads.iter().map(Vec::len).sum();
        if waiting.open && waiting.request == request && held + head.len() <= WAITING_MAX {
            waiting.heads.push_back(head);
            if let Some(writer) = waiting.writer.take() {
                writer.wake();
            }
        }
    }

    fn current(&self) -> u64 {
        self.lock().request
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one try of a request hears before its answer.
pub(crate) struct Watch {
    seen: AtomicUsize,
    flood: Notify,
    /// Sets the upload going.
    go: Mutex<Option<oneshot::Sender<()>>>,
    to: Option<(Arc<Aside>, u64)>,
}

impl Watch {
    /// Listens to what comes before the answer to `request`.
    pub(crate) fn on<B>(
        request: &mut Request<B>,
        aside: Option<&Arc<Aside>>,
        go: Option<oneshot::Sender<()>>,
    ) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            seen: AtomicUsize::new(0),
            flood: Notify::new(),
            go: Mutex::new(go),
            to: aside.map(|aside| (aside.clone(), aside.interims.current())),
        });
        let listener = watch.clone();
        hyper::ext::on_informational(request, move |interim| {
            listener.hear(interim.status(), interim.headers())
        });
        watch
    }

    /// Resolves when there are too many.
    pub(crate) async fn flooded(&self) {
        self.flood.notified().await;
    }

    /// Whether the upload waits for a word.
    pub(crate) fn is_waiting(&self) -> bool {
        self.go().is_some()
    }

    /// Sets the upload going.
    pub(crate) fn proceed(&self) {
        // If nobody waits, the upload is over already.
        let _ = self.go().take().map(|go| go.send(()));
    }

    fn hear(&self, status: StatusCode, fields: &HeaderMap) {
        if self.seen.fetch_add(1, Ordering::Relaxed) == INTERIMS_MAX {
            self.flood.notify_one();
        }
        match (status, &self.to) {
            // The client gets one of its own, from hyper, when the first byte of its body is wanted.
            (StatusCode::CONTINUE, _) => self.proceed(),
            (_, Some((aside, request))) => aside.interims.put(*request, written(status, fields)),
            (_, None) => {}
        }
    }

    fn go(&self) -> MutexGuard<'_, Option<oneshot::Sender<()>>> {
        self.go.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut fields = fields.clone();
    headers::clean_response(&mut fields);
    headers::leave_out(&mut fields, &[http::header::CONTENT_LENGTH]);
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &fields {
        // hyper does not tell how it was spelt.
        let mut name = name.as_str().as_bytes().to_vec();
        headers::title_case(&mut name);
        for part in [&*name, b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
