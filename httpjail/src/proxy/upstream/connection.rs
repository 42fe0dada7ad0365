//! One open upstream connection of either version: how it begins on a stream, is asked, and let go.
//!
//! HTTP/1 answers one request after the other and is given back to the [`crate::proxy::upstream::pool`] in between. HTTP/2 is shared: each
//! request holds a [`Lease`] of its place.

use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::http2::Stream;
use crate::proxy::upstream::proxy_env::Parent;
use crate::proxy::upstream::request_body::Upload;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use std::sync::Arc;

/// A connection ready for one request.
pub(crate) enum Connection {
    Http1(Http1),
    Http2(Stream),
}

impl Connection {
    /// Whether the server asked for a client certificate, which nobody could give it.
    pub(crate) fn asked_who_we_are(&self) -> bool {
        match self {
            Connection::Http1(http1) => http1.asked,
            Connection::Http2(stream) => stream.asked,
        }
    }

    /// How much the server has said on it so far, of whatever.
    pub(crate) fn heard(&self) -> u64 {
        match self {
            Connection::Http1(http1) => http1.notes.heard(),
            Connection::Http2(stream) => stream.notes.heard(),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Connection::Http2(..))
    }

    /// What follows is not HTTP: a write that fails is told at once.
    pub(crate) fn is_a_tunnel(&self) {
        if let Connection::Http1(http1) = self {
            http1.notes.give_up();
        }
    }

    /// The other proxy that this leads to, where requests are told to that proxy and not only sent through it.
    pub(crate) fn parent(&self) -> Option<&Arc<Parent>> {
        match self {
            Connection::Http1(http1) => http1.parent.as_ref(),
            Connection::Http2(..) => None,
        }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        match self {
            Connection::Http1(http1) => http1.send(request).await,
            Connection::Http2(stream) => stream.sender.try_send_request(request).await,
        }
    }
}
