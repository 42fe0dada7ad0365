//! Whether a request whose connection failed may be sent again: only where nobody can have acted on it twice.

use std::error::Error;

/// Whether a request without a body may be sent again after `error`. `stale` says that its connection had been used before
/// and ended without one byte more, so that the server closed it while the request was on its way; and that its method is
/// idempotent, so that a second time does no more than the first, should it have seen it after all (RFC 9110 section
/// 9.2.2). Who said anything, be it to another request, may have acted on this one.
pub(super) fn is_allowed(error: &hyper::Error, stale: bool) -> bool {
    is_unprocessed(error) || stale && !error.is_timeout()
}

/// Whether the server said itself that it has not acted on the request (RFC 9113 section 8.7): it refused the stream, or it
/// went away and the stream came after the last that it would serve. h2 gives that error to no others.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_remote() && (cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}
