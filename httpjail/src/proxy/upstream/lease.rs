//! What one answer holds of its upstream connection while it is read.
//!
//! A connection of HTTP/1 goes back to the others when its answer has been read to the end, without a task that waits
//! for that. If the answer is broken off, the connection ends with it.

use crate::proxy::upstream::client_connections::SlotGuard;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::kept::KeptConnections;
use crate::proxy::upstream::key::PoolKey;
use crate::proxy::upstream::stream_permit::StreamPermit;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What one answer holds of its connection.
pub(crate) enum Lease {
    /// A stream of an HTTP/2 connection.
    Stream(StreamPermit),
    /// A whole HTTP/1 connection.
    Whole(Whole),
}

/// A connection of HTTP/1, and where it goes afterwards.
pub(crate) struct Whole {
    pub(crate) http1: Http1,
    pub(crate) back_to: BackTo,
    pub(crate) kept: Arc<KeptConnections>,
}

/// For whom a connection is kept.
pub(crate) enum BackTo {
    /// For all clients.
    Pool(PoolKey),
    /// For the client that it belongs to.
    Client(SlotGuard),
    /// For nobody: it belongs to a client that has no room for it.
    Nobody,
}

impl Lease {
    /// Gives the connection back: the answer has been read to its end.
    pub(crate) fn end(self) {
        let Lease::Whole(mut whole) = self else { return };
        if whole.http1.has_ended() {
            return whole.give_back();
        }
        // The request may still be on its way. Without a runtime nothing moves any more.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if whole.http1.ended().await {
                    whole.give_back();
                }
            });
        }
    }

    /// Notes that its answer was broken off. A connection of HTTP/1 that cannot be written to ends. One of HTTP/2 gets
    /// no further requests: frames of the answer still come for a while, and h2 counts small ones as unread for ever;
    /// after so many it ends the connection (`too_many_data_frames`), with whatever else is on it.
    pub(crate) fn retire(self) {
        match self {
            Lease::Stream(permit) => permit.retire(),
            Lease::Whole(whole) => whole.http1.stats.give_up(),
        }
    }
}

impl Whole {
    fn give_back(self) {
        match self.back_to {
            BackTo::Pool(key) => self.kept.put(key, self.http1),
            BackTo::Client(turn) => self.kept.put_bound(turn, self.http1),
            BackTo::Nobody => {}
        }
    }
}
