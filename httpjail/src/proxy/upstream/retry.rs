//! Decides whether a request whose connection failed may be sent again: only where no server can have acted on it
//! twice.

use h2::Reason;
use std::error::Error;

/// What became of a request that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The server said itself that it has not acted on it (RFC 9113 section 8.7): it refused the stream, or it went
    /// away and the stream came after the last that it would serve.
    Unread,
    /// The server wants to be asked over HTTP/1.1 (RFC 9113 section 7), and has not acted on it either.
    WantsHttp1,
    /// The connection ended under it.
    Lost,
    /// It took too long.
    Late,
}

impl Fate {
    pub(crate) fn of(error: &hyper::Error) -> Fate {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        match cause.filter(|cause| cause.is_remote()) {
            Some(cause) if cause.reason() == Some(Reason::HTTP_1_1_REQUIRED) => Fate::WantsHttp1,
            // h2 gives a GOAWAY as the error of no other stream.
            Some(cause) if cause.is_go_away() || cause.reason() == Some(Reason::REFUSED_STREAM) => Fate::Unread,
            _ if error.is_timeout() => Fate::Late,
            _ => Fate::Lost,
        }
    }

    /// Returns whether the server said that it has not acted on the request.
    pub(crate) fn is_unread(self) -> bool {
        matches!(self, Fate::Unread | Fate::WantsHttp1)
    }

    /// Returns whether the request may be sent again. `stale` says that its connection had been used before and ended
    /// without one byte more, so that the server closed it while the request was on its way; and that its method is
    /// idempotent, so that a second time does no more than the first, should it have seen it after all (RFC 9110
    /// section 9.2.2). Who said anything, be it to another request, may have acted on this one.
    pub(crate) fn allows_another(self, stale: bool) -> bool {
        self.is_unread() || stale && self == Fate::Lost
    }
}
