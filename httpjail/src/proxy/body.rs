//! Bodies on their way through: passed on frame by frame, counted, never gathered.
//!
//! Backpressure comes from polling: nobody reads a frame before the other leg has room for it.

use super::client::Entry;
use super::headers;
use super::pool::Lease;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// A request's body on its way upstream.
pub(super) struct Upload {
    body: Option<Incoming>,
    sent: Arc<AtomicU64>,
}

impl Upload {
    pub(super) fn new(body: Incoming, sent: Arc<AtomicU64>) -> Upload {
        let body = (!body.is_end_stream()).then_some(body);
        Upload { body, sent }
    }

    pub(super) fn empty() -> Upload {
        Upload {
            body: None,
            sent: Arc::default(),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let mut frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.sent.fetch_add(length as u64, Ordering::Relaxed);
            // Some servers read them as if they had come with the head (RFC 9110 section 6.5.1 warns of that).
            if let Some(trailers) = frame.trailers_mut() {
                headers::clean_trailers(trailers);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body on its way to the client. When it has gone, or nobody wants it any more, the request is recorded.
pub(super) struct Download {
    source: Source,
    entry: Option<Entry>,
    /// Keeps the upstream connection's place taken as long as this body uses it.
    _lease: Option<Lease>,
}

enum Source {
    Upstream(Incoming),
    Own(Full<Bytes>),
}

impl Download {
    pub(super) fn upstream(body: Incoming, mut entry: Entry, lease: Option<Lease>) -> Download {
        entry.complete = body.is_end_stream();
        Download {
            source: Source::Upstream(body),
            entry: Some(entry),
            _lease: lease,
        }
    }

    /// A body of our own words.
    pub(super) fn own(text: String, mut entry: Entry) -> Download {
        entry.complete = true;
        Download {
            source: Source::Own(Full::from(text)),
            entry: Some(entry),
            _lease: None,
        }
    }

    /// Nothing, and nothing to record when it ends: a tunnel does that.
    pub(super) fn nothing() -> Download {
        Download {
            source: Source::Own(Full::default()),
            entry: None,
            _lease: None,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let frame = ready!(match &mut this.source {
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
            Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        });
        let ended = this.is_end_stream();
        if let Some(entry) = &mut this.entry {
            match &frame {
                Some(Ok(frame)) => entry.received += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) => entry.because("upstream broke off"),
                None => {}
            }
            // hyper does not ask again after trailers, nor after the last byte of a body whose length it knows.
            entry.complete |= match &frame {
                None => true,
                Some(Ok(frame)) => frame.is_trailers() || ended,
                Some(Err(_)) => false,
            };
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(body) => body.is_end_stream(),
            Source::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(body) => body.size_hint(),
            Source::Own(body) => body.size_hint(),
        }
    }
}
