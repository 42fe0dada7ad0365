//! All bounds of the proxy: how long and how much.
//!
//! Whatever a jail or a server sends, nothing in the proxy grows beyond these. A bound costs only the client that
//! reaches it: a request is refused, a connection is closed, or a client waits. Counts are per jail unless they say
//! otherwise, sizes are in bytes.

use std::time::Duration;

/// The bounds of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Client connections at a time. One more closes the oldest connection that has not sent a request; if all have
    /// sent one, it waits.
    pub connections: usize,
    /// Requests at a time, over all connections; more are answered 503.
    pub requests: usize,
    /// HTTP/2 streams at a time on one client connection; more are refused, and may be sent again.
    pub streams: u32,
    /// Upstream connections at a time, including unused ones. A request that needs one more waits up to
    /// [`Limits::connect`].
    pub upstreams: usize,
    /// Bytes of memory that all connections together may make the proxy hold. Beyond it nothing is read, and the
    /// connections end on which nothing moves. (The process takes at most a third more of the machine.)
    pub memory: usize,
    /// Where clients need a token: one in so many connections may be without it at a time.
    pub strangers: usize,
    /// How long a client may take to show the token; counted slower on a busy machine.
    pub stranger: Duration,
    /// Fields in the head of a message, on both legs: 431, or 502 for an upstream's.
    pub fields: usize,
    /// Size of the head of a message, on both legs: 431, or 502 for an upstream's.
    pub head: usize,

    /// How long a client may send nothing on a new connection. Counted slower on a busy machine, like the next two.
    pub silence: Duration,
    /// How long it may be silent within the head of a request, or before the next one.
    pub header: Duration,
    /// How long it may be silent within a TLS handshake.
    pub handshake: Duration,
    /// From an accepted connection to the end of the first request's head, and for each later head from its first byte
    /// to its end, even if bytes keep coming.
    pub arrival: Duration,
    /// How long nothing may move in a body, in either direction. On a client's connection nothing may move for three
    /// times as long, whatever it is used for: 0-window stalls, idle WebSockets.
    pub stall: Duration,

    /// Resolving the name of an upstream: 504.
    pub resolve: Duration,
    /// Connecting to an upstream, over all of its addresses: 504.
    pub connect: Duration,
    /// The TLS handshake with an upstream: 504.
    pub tls: Duration,
    /// From a request sent upstream, or the last byte of its body that moved, to the head of its answer: 504.
    pub response: Duration,
    /// How long an upload whose client waits for `100 Continue` waits for the upstream to say so.
    pub expect: Duration,
    /// How long an answer may take for a client that sends no more, and may be gone.
    pub half_closed: Duration,

    /// How long an unused upstream connection is kept.
    pub idle: Duration,
    /// How many unused HTTP/1 connections to one host are kept. All, unless fewer are wanted: those that are not needed
    /// end by [`Limits::idle`] (see [`crate::proxy::upstream::kept`]).
    pub idle_per_host: usize,
    /// The number of hosts to which unused connections are kept.
    pub idle_hosts: usize,

    /// How long connections may go on after a shutdown was requested.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 8192,
            requests: 16_384,
            streams: 256,
            upstreams: 8192,
            memory: 768 << 20,
            strangers: 8,
            stranger: Duration::from_secs(5),
            fields: 200,
            head: 64 * 1024,
            silence: Duration::from_secs(10),
            header: Duration::from_secs(60),
            handshake: Duration::from_secs(60),
            arrival: Duration::from_secs(5 * 60),
            stall: Duration::from_secs(30 * 60),
            // Longer than a resolver takes that asks a second server.
            resolve: Duration::from_secs(30),
            connect: Duration::from_secs(30),
            tls: Duration::from_secs(60),
            // Long polls and models that think: the client may give up first.
            response: Duration::from_secs(30 * 60),
            // What curl waits. Servers that do not know the field say nothing.
            expect: Duration::from_secs(1),
            half_closed: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            idle_per_host: 8192,
            idle_hosts: 256,
            grace: Duration::from_millis(500),
        }
    }
}

impl Limits {
    /// Returns these bounds, lowered so that they fit into `descriptors` (RLIMIT_NOFILE): a proxy that runs out of them
    /// can neither accept nor dial.
    #[must_use]
    pub(crate) fn within(mut self, descriptors: u64) -> Limits {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        // A few are the log's, the runtime's and the kernel events'; resolving takes some for a moment.
        let half = (descriptors.saturating_sub(descriptors / 8) / 2).max(1);
        self.connections = self.connections.min(half);
        self.upstreams = self.upstreams.min(half);
        self
    }

    /// Returns how much of a body is read at once over HTTP/1, a head and a bit. By default hyper reads up to 400 KiB
    /// of a fast body, and keeps a buffer of that size for every unused connection.
    pub(crate) fn read_at_once(&self) -> usize {
        self.head + 16 * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: D04.
    #[test]
    fn within_the_descriptors_there_are() {
        let check = |descriptors, connections| {
            let limits = Limits::default().within(descriptors);
            assert_eq!((limits.connections, limits.upstreams), (connections, connections));
            assert!(descriptors < 16 || (limits.connections + limits.upstreams) as u64 <= descriptors);
        };
        check(u64::MAX, 8192);
        check(20_000, 8192);
        check(1024, 448);
        check(0, 1);
    }
}
