//! Takes the stream of a tunnel back from hyper.
//!
//! hyper hands on a connection that is not HTTP any more as something that can be read and written, and no more is known
//! of it. The kernel can move the bytes of the socket below, if there is one.

use crate::proxy::io::boxed::{BoxedIo, Io};
use crate::proxy::io::deferred_error::DeferredWriteErrorIo;
use crate::proxy::io::prefixed::PrefixedIo;
use crate::proxy::io::shared::SharedIo;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;

/// What hyper is given of a client's connection in HTTP/1, of a server's in the clear, and of another proxy's.
type Downstream = SharedIo<dyn Io>;
type Upstream = DeferredWriteErrorIo<BoxedIo>;
type UpstreamProxy = BoxedIo;

/// Returns the stream below `upgraded`. What hyper has read of it and not given to anyone comes first.
pub(crate) fn taken_back(upgraded: Upgraded) -> BoxedIo {
    let upgraded = match upgraded.downcast::<TokioIo<Downstream>>() {
        Ok(parts) => return whole(parts),
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<Upstream>>() {
        Ok(parts) => return whole(parts),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<UpstreamProxy>>() {
        Ok(parts) => whole(parts),
        // HTTP/2, or TLS to a server.
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    }
}

fn whole<S: Io + 'static>(parts: Parts<TokioIo<S>>) -> BoxedIo {
    Box::new(PrefixedIo::new(parts.read_buf.into(), parts.io.into_inner()))
}

#[cfg(test)]
mod tests;
