//! A connection of HTTP/2 to an upstream: each request has a stream of its own.

use crate::net::Host;
use crate::proxy::io::deferred_error::{ConnStats, DeferredWriteErrorIo};
use crate::proxy::io::h2_coalesce::CoalescingIo;
use crate::proxy::limits::Limits;
use crate::proxy::overload::h2_windows::ConnectionCounts;
use crate::proxy::upstream::error::DialError;
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::stream_permit::{StreamCount, StreamPermit};
use crate::sync::lock;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of HTTP/2.
pub(crate) struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    count: Arc<StreamCount>,
    /// How many streams the upstream allows at a time, as far as it has said so.
    allowed: Box<dyn Fn() -> usize + Send>,
    used: Instant,
    /// Whether the server asked for a client certificate.
    client_cert_requested: bool,
    stats: Arc<ConnStats>,
}

impl Http2 {
    /// Begins HTTP/2 on `stream`.
    pub(crate) async fn begin<S>(
        host: &Host,
        stream: S,
        client_cert_requested: bool,
        limits: &Limits,
        counts: &ConnectionCounts,
    ) -> Result<Http2, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = DeferredWriteErrorIo::new(stream);
        let stats = stream.stats();
        let (windows, counted) = counts.upstream();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .max_send_buf_size(windows.unsent)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .handshake(TokioIo::new(CoalescingIo::from_server(stream)))
            .await
            .map_err(|error| DialError::broken_off(host, error))?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let polled = connection.clone();
        let mut counted = Some(counted);
        tokio::spawn(std::future::poll_fn(move |cx| {
            let mut held = lock(&polled);
            let ended = match &mut *held {
                Some(connection) => Pin::new(connection).poll(cx).is_ready(),
                None => true,
            };
            // Dropped at once, or what still waits to be sent on it would wait for ever.
            if ended {
                *held = None;
                counted.take();
                return Poll::Ready(());
            }
            Poll::Pending
        }));
        Ok(Http2 {
            sender,
            count: Arc::default(),
            // Only the connection knows what its peer's SETTINGS said. It is not polled when they come (hyper polls h2
            // in another task), so that a number that it noted itself would be out of date.
            allowed: Box::new(move || {
                lock(&connection)
                    .as_ref()
                    .map_or(0, |open| open.current_max_send_streams())
            }),
            used: Instant::now(),
            client_cert_requested,
            stats,
        })
    }

    /// Returns whether it may take further requests, now or later.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.count.is_retired()
    }

    /// Returns whether it may take a request now. One more than the server allows would wait until another one ends.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.is_ready() && self.count.streams() < (self.allowed)()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.count.streams() == 0
    }

    pub(crate) fn is_unused_for(&self, time: Duration) -> bool {
        self.is_unused() && self.used.elapsed() > time
    }

    /// Returns a stream of it for one request.
    pub(crate) fn stream(&mut self) -> Stream {
        self.used = Instant::now();
        Stream {
            sender: self.sender.clone(),
            permit: StreamPermit::new(&self.count),
            client_cert_requested: self.client_cert_requested,
            stats: self.stats.clone(),
        }
    }
}

/// A connection of HTTP/2, for one request.
pub(crate) struct Stream {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    pub(crate) permit: StreamPermit,
    pub(crate) client_cert_requested: bool,
    pub(crate) stats: Arc<ConnStats>,
}
