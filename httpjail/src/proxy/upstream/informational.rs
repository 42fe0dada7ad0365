//! What a server says before its answer: interim responses (1xx, RFC 9110 section 15.2).

use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::headers;
use crate::proxy::http1::token::title_case;
use crate::sync::lock;
use http::{HeaderMap, Request, StatusCode};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;

/// The most interim responses before an answer: one each 20 seconds (WebDAV's `102 Processing`) for some hours. A
/// server that sends more wants no answer to be read.
const INFORMATIONAL_MAX: usize = 1000;

/// Listens to what a server sends before its answer to one try of a request.
pub(crate) struct InformationalListener {
    heard: Mutex<Heard>,
    to: Option<(Arc<ExchangeState>, u64)>,
}

#[derive(Default)]
struct Heard {
    responses: usize,
    /// Starts the upload.
    go: Option<oneshot::Sender<()>>,
    /// Who is told when there are too many.
    waker: Option<Waker>,
}

impl InformationalListener {
    /// Listens to what comes before the answer to `request`.
    pub(crate) fn on<B>(
        request: &mut Request<B>,
        exchange: Option<&Arc<ExchangeState>>,
        go: Option<oneshot::Sender<()>>,
    ) -> Arc<InformationalListener> {
        let informational = Arc::new(InformationalListener {
            heard: Mutex::new(Heard { go, ..Heard::default() }),
            to: exchange.map(|exchange| (exchange.clone(), exchange.informational.current())),
        });
        let listener = informational.clone();
        hyper::ext::on_informational(request, move |interim| {
            listener.hear(interim.status(), interim.headers())
        });
        informational
    }

    /// Ready when there were too many.
    pub(crate) fn poll_flooded(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut heard = self.lock();
        if heard.responses > INFORMATIONAL_MAX {
            return Poll::Ready(());
        }
        match &mut heard.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Returns whether the upload waits for `100 Continue`.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lock().go.is_some()
    }

    /// Starts the upload.
    pub(crate) fn proceed(&self) {
        let go = self.lock().go.take();
        // If nothing waits, the upload is over already.
        let _ = go.map(|go| go.send(()));
    }

    fn hear(&self, status: StatusCode, fields: &HeaderMap) {
        let mut heard = self.lock();
        heard.responses += 1;
        let flooded = match heard.responses > INFORMATIONAL_MAX {
            true => heard.waker.take(),
            false => None,
        };
        drop(heard);
        if let Some(waker) = flooded {
            waker.wake();
        }
        match (status, &self.to) {
            // The client gets one of its own, from hyper, when the first byte of its body is wanted.
            (StatusCode::CONTINUE, _) => self.proceed(),
            (_, Some((exchange, request))) => exchange.informational.put(*request, written(status, fields)),
            (_, None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }
}

fn written(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut fields = fields.clone();
    headers::clean_response(&mut fields);
    headers::leave_out(&mut fields, &[http::header::CONTENT_LENGTH]);
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &fields {
        // hyper does not tell how it was spelled.
        let mut name = name.as_str().as_bytes().to_vec();
        title_case(&mut name);
        for part in [&*name, b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
