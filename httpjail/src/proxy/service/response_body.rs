//! A response's body on its way to the client: passed on frame by frame, counted, never collected.
//!
//! Backpressure comes from polling: a frame is read only when the other leg has room for it.

use crate::proxy::http1::exchange::InFlight;
use crate::proxy::http1::headers;
use crate::proxy::io::byte_counts::ByteCounts;
use crate::proxy::service::request_record::RequestRecord;
use crate::proxy::upstream::informational::InformationalListener;
use crate::proxy::upstream::lease::Lease;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A response's body on its way to the client. When it has gone, or is dropped, the request is recorded.
pub(crate) struct ResponseBody {
    source: Source,
    entry: Option<RequestRecord>,
    in_flight: Option<InFlight>,
    /// An error that waits until what came before it has gone, and how many flushes there had been.
    held: Option<(io::Error, u64)>,
}

enum Source {
    Upstream(Stream),
    Own(Full<Bytes>),
}

/// What comes from an upstream.
struct Stream {
    body: Incoming,
    /// Whether its end has been read.
    ended: bool,
    /// What this body holds of its connection.
    lease: Option<Lease>,
    /// An upload that waits for a word that does not come any more ends with this body.
    _informational: Arc<InformationalListener>,
    idle: Idle,
}

/// What all else came of.
fn deepest<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

/// Notices an exchange in which nothing moves. It costs a look at a counter now and then, not a timer for each frame.
struct Idle {
    limit: Duration,
    clock: Option<Pin<Box<Sleep>>>,
    byte_counts: Arc<ByteCounts>,
    /// What both directions had moved when the clock was last wound up.
    seen: u64,
}

impl Idle {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let clock = self.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        loop {
            ready!(clock.as_mut().poll(cx));
            let moved = self.byte_counts.sent() + self.byte_counts.received();
            if std::mem::replace(&mut self.seen, moved) == moved {
                return Poll::Ready(());
            }
            clock.as_mut().reset(Instant::now() + limit);
        }
    }
}

impl ResponseBody {
    /// The body of an upstream's answer. It ends when nothing moves in either direction for `limit`.
    pub(crate) fn upstream(
        body: Incoming,
        mut entry: RequestRecord,
        lease: Option<Lease>,
        informational: Arc<InformationalListener>,
        limit: Duration,
    ) -> ResponseBody {
        entry.complete = body.is_end_stream();
        let idle = Idle {
            limit,
            clock: None,
            byte_counts: entry.byte_counts.clone(),
            seen: u64::MAX,
        };
        let stream = Stream {
            body,
            ended: false,
            lease,
            _informational: informational,
            idle,
        };
        ResponseBody::new(Source::Upstream(stream), Some(entry))
    }

    /// The body of the proxy's own answer to a request.
    pub(crate) fn own(text: String, mut entry: RequestRecord) -> ResponseBody {
        entry.complete = true;
        ResponseBody::new(Source::Own(Full::from(text)), Some(entry))
    }

    /// The body of the proxy's own answer where no request is recorded.
    pub(crate) fn words(text: String) -> ResponseBody {
        ResponseBody::new(Source::Own(Full::from(text)), None)
    }

    /// An empty body; the tunnel that follows it writes the record.
    pub(crate) fn nothing() -> ResponseBody {
        ResponseBody::new(Source::Own(Full::default()), None)
    }

    /// Keeps the request in flight for as long as this body is there.
    pub(crate) fn until_gone(mut self, in_flight: Option<InFlight>) -> ResponseBody {
        self.in_flight = in_flight;
        self
    }

    fn new(source: Source, entry: Option<RequestRecord>) -> ResponseBody {
        ResponseBody {
            source,
            entry,
            in_flight: None,
            held: None,
        }
    }
}

impl ResponseBody {
    /// The error, once what came before it has gone, or nothing moves any more.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let (Some((_, seen)), Some(entry)) = (&self.held, &self.entry)
            && entry.flushes().poll_more(*seen, cx).is_pending()
            && let Source::Upstream(stream) = &mut self.source
        {
            ready!(stream.idle.poll(cx));
        }
        Poll::Ready(self.held.take().map(|(error, _)| Err(error)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // hyper does not ask for the end of a body whose length it knows.
        let whole = self.ended || self.body.is_end_stream() || self.body.size_hint().exact() == Some(0);
        match (self.lease.take(), whole) {
            (Some(lease), true) => lease.end(),
            (Some(lease), false) => lease.retire(),
            (None, _) => {}
        }
    }
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.ended = match &frame {
                    None => true,
                    Some(Ok(frame)) => frame.is_trailers(),
                    Some(Err(_)) => false,
                };
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
            Poll::Pending => {
                ready!(self.idle.poll(cx));
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.held.is_some() {
            return this.poll_held(cx);
        }
        let mut frame = ready!(match &mut this.source {
            Source::Upstream(stream) => stream.poll_frame(cx),
            Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        });
        if let (Some(Ok(frame)), Source::Upstream(_)) = (&mut frame, &this.source)
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::clean_response_trailers(trailers);
        }
        let ended = this.is_end_stream();
        if let Some(entry) = &mut this.entry {
            match &frame {
                Some(Ok(frame)) => entry.receive(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    entry.fail(
                        "timed out",
                        "In the middle of the server's answer nothing moved any more.",
                    );
                }
                Some(Err(error)) => {
                    let words = format!("The server's answer broke off: {}.", deepest(error));
                    entry.fail("upstream broke off", words);
                }
                None => {}
            }
            // hyper does not ask again after trailers, nor after the last byte of a body whose length it knows.
            entry.complete |= match &frame {
                None => true,
                Some(Ok(frame)) => frame.is_trailers() || ended,
                Some(Err(_)) => false,
            };
        }
        match (frame, &this.entry) {
            (Some(Err(error)), Some(entry)) => {
                this.held = Some((error, entry.flushes().count()));
                // Over HTTP/2 nothing is flushed where nothing is written.
                Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
            }
            (frame, _) => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(stream) => self.held.is_none() && stream.body.is_end_stream(),
            Source::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(stream) => stream.body.size_hint(),
            Source::Own(body) => body.size_hint(),
        }
    }
}
