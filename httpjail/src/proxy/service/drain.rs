//! Reads the rest of a small request body after a refusal.
//!
//! A client in the middle of an upload often reads its answer only when it has sent everything. The proxy reads and
//! drops the rest of a small body, so that the answer arrives and the connection can be kept. With a larger body the
//! connection is closed, and lingers for a moment ([`crate::proxy::io::linger`]).

use http::request::Parts;
use http::{Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::time::Duration;

const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Drops the body of a request that is being refused, and reads a small one to its end.
pub(crate) fn unread_body(head: &Parts, mut body: Incoming) {
    // HTTP/2 resets one stream and hurts no other. A client that waits for 100 Continue must not be told to go on,
    // and reading would: hyper sends it with the first poll.
    if body.is_end_stream() || head.version >= Version::HTTP_2 || head.headers.contains_key(header::EXPECT) {
        return;
    }
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, async move {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}
