//! A request's body on its way upstream: passed on frame by frame, counted, never collected.
//!
//! A server of HTTP/2 may send a request back unread (RFC 9113 section 8.7): when it ends a connection, or because it
//! is busy. A client without a proxy would send it again. So over HTTP/2 the first part of a body is kept until
//! something is received. A server that has read none of it lets no more than its window come, and 64 KiB is the usual
//! one.

use crate::proxy::http1::headers;
use crate::proxy::io::byte_counts::ByteCounts;
use crate::sync::lock;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// How much of a body is kept at most: a window and what was read at once when it was full.
const KEPT_MAX: usize = 128 * 1024;

/// One try to send a request's body.
pub(crate) struct RequestBody {
    source: Option<Arc<Mutex<Source>>>,
    byte_counts: Arc<ByteCounts>,
    /// Which try this is, and how much of what is kept it has sent.
    attempt: u32,
    sent: usize,
    over: bool,
    /// What it waits for before the client is asked for its first byte.
    word: Option<oneshot::Receiver<()>>,
}

/// A body that can be sent again.
#[derive(Clone)]
pub(crate) struct Repeat(Option<Arc<Mutex<Source>>>);

/// What the client sends, and what is kept of it.
struct Source {
    body: Incoming,
    keeping: bool,
    kept: Vec<u8>,
    /// Whether the body has ended, and with what.
    ended: Option<Option<HeaderMap>>,
    /// The newest try: an older one gets nothing any more.
    attempt: u32,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, byte_counts: Arc<ByteCounts>) -> RequestBody {
        let source = (!body.is_end_stream()).then(|| Source {
            body,
            keeping: false,
            kept: Vec::new(),
            ended: None,
            attempt: 0,
        });
        RequestBody {
            source: source.map(|source| Arc::new(Mutex::new(source))),
            ..RequestBody::empty(byte_counts)
        }
    }

    pub(crate) fn empty(byte_counts: Arc<ByteCounts>) -> RequestBody {
        RequestBody {
            source: None,
            byte_counts,
            attempt: 0,
            sent: 0,
            over: false,
            word: None,
        }
    }

    /// Waits for `word`; should it never come, the upload breaks off.
    pub(crate) fn wait_for(&mut self, word: Option<oneshot::Receiver<()>>) {
        self.word = word;
    }

    /// The way to send it again; `keeping` says whether its first piece is kept for that.
    pub(crate) fn repeat(&self, keeping: bool) -> Repeat {
        if let Some(source) = &self.source {
            lock(source).keeping = keeping;
        }
        Repeat(self.source.clone())
    }

    /// The next frame: of what is kept first.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(source) = &self.source else {
            return Poll::Ready(None);
        };
        let source = &mut *lock(source);
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if self.sent < source.kept.len() {
            let piece = Bytes::copy_from_slice(&source.kept[self.sent..]);
            self.sent = source.kept.len();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(trailers) = &source.ended {
            self.over = true;
            return Poll::Ready(trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let mut frame = ready!(Pin::new(&mut source.body).poll_frame(cx)).map(|frame| frame.map_err(io::Error::other));
        match &mut frame {
            Some(Ok(frame)) => {
                // Some servers read them as if they had come with the head (RFC 9110 section 6.5.1 warns of that).
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                    source.ended = Some(Some(trailers.clone()));
                }
                let data = frame.data_ref().map_or(&[][..], |data| data);
                self.byte_counts.send(data.len());
                source.keep(data);
                self.sent = source.kept.len();
            }
            Some(Err(_)) => source.forget(),
            None => source.ended = Some(None),
        }
        self.over = source.ended.is_some();
        Poll::Ready(frame)
    }
}

impl Source {
    fn keep(&mut self, data: &[u8]) {
        if self.keeping && self.kept.len() + data.len() > KEPT_MAX {
            self.forget();
        }
        if self.keeping {
            self.kept.extend_from_slice(data);
        }
    }

    fn forget(&mut self) {
        self.keeping = false;
        self.kept = Vec::new();
    }
}

impl Repeat {
    /// The same body from its beginning, if all that has gone of it is kept. The try before is over.
    pub(crate) fn upload(&self, byte_counts: &Arc<ByteCounts>) -> Option<RequestBody> {
        let mut upload = RequestBody::empty(byte_counts.clone());
        if let Some(source) = &self.0 {
            let mut held = lock(source);
            if !held.keeping {
                return None;
            }
            held.attempt += 1;
            upload.attempt = held.attempt;
            upload.source = Some(source.clone());
        }
        Some(upload)
    }

    /// Something was heard: the request will not be sent again.
    pub(crate) fn forget(&self) {
        if let Some(source) = &self.0 {
            lock(source).forget();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(word) = &mut self.word {
            if ready!(Pin::new(word).poll(cx)).is_err() {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            self.word = None;
        }
        if self.over {
            return Poll::Ready(None);
        }
        self.next(cx)
    }

    fn is_end_stream(&self) -> bool {
        let Some(source) = self.source.as_ref().filter(|_| !self.over) else {
            return true;
        };
        let source = lock(source);
        let at_the_end = match &source.ended {
            Some(trailers) => trailers.is_none(),
            None => source.body.is_end_stream(),
        };
        at_the_end && self.sent >= source.kept.len()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = self.source.as_ref().filter(|_| !self.over) else {
            return SizeHint::with_exact(0);
        };
        let source = lock(source);
        let again = source.kept.len().saturating_sub(self.sent) as u64;
        let more = match source.ended {
            Some(_) => SizeHint::with_exact(0),
            None => source.body.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(more.lower() + again);
        if let Some(upper) = more.upper() {
            hint.set_upper(upper + again);
        }
        hint
    }
}
