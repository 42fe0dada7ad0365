//! What a server says before its answer: interim responses (1xx, RFC 9110 section 15.2).

use crate::proxy::http1::exchange::ExchangeState;
use crate::proxy::http1::headers;
use crate::proxy::http1::token::title_case;
use crate::sync::lock;
use http::{HeaderMap, Request, StatusCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

/// The most interim responses before an answer: one each 20 seconds (WebDAV's `102 Processing`) for some hours. A
/// server that sends more wants no answer to be read.
const INFORMATIONAL_MAX: usize = 1000;

/// Listens to what a server sends before its answer to one try of a request.
pub(crate) struct InformationalListener {
    seen: AtomicUsize,
    flood: Notify,
    /// Starts the upload.
    go: Mutex<Option<oneshot::Sender<()>>>,
    to: Option<(Arc<ExchangeState>, u64)>,
}

impl InformationalListener {
    /// Listens to what comes before the answer to `request`.
    pub(crate) fn on<B>(
        request: &mut Request<B>,
        exchange: Option<&Arc<ExchangeState>>,
        go: Option<oneshot::Sender<()>>,
    ) -> Arc<InformationalListener> {
        let informational = Arc::new(InformationalListener {
            seen: AtomicUsize::new(0),
            flood: Notify::new(),
            go: Mutex::new(go),
            to: exchange.map(|exchange| (exchange.clone(), exchange.informational.current())),
        });
        let listener = informational.clone();
        hyper::ext::on_informational(request, move |interim| {
            listener.hear(interim.status(), interim.headers())
        });
        informational
    }

    /// Resolves when there were too many.
    pub(crate) async fn flooded(&self) {
        self.flood.notified().await;
    }

    /// Returns whether the upload waits for `100 Continue`.
    pub(crate) fn is_waiting(&self) -> bool {
        self.go().is_some()
    }

    /// Starts the upload.
    pub(crate) fn proceed(&self) {
        // If nothing waits, the upload is over already.
        let _ = self.go().take().map(|go| go.send(()));
    }

    fn hear(&self, status: StatusCode, fields: &HeaderMap) {
        if self.seen.fetch_add(1, Ordering::Relaxed) == INFORMATIONAL_MAX {
            self.flood.notify_one();
        }
        match (status, &self.to) {
            // The client gets one of its own, from hyper, when the first byte of its body is wanted.
            (StatusCode::CONTINUE, _) => self.proceed(),
            (_, Some((exchange, request))) => exchange.informational.put(*request, written(status, fields)),
            (_, None) => {}
        }
    }

    fn go(&self) -> MutexGuard<'_, Option<oneshot::Sender<()>>> {
        lock(&self.go)
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
