//! All bounds of the proxy: how long and how much.
//!
//! Whatever a jail or a server sends, nothing in the proxy grows beyond these. A bound costs only the client that
//! reaches it: a request is refused, a connection is closed, or a client waits. Counts are per jail unless they say
//! otherwise, sizes are in bytes.

use std::time::Duration;

/// The bounds of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Client connections at a time. One more takes the place of the oldest on which nothing was asked for yet; without
    /// such, it waits.
    pub connections: usize,
    /// Requests at a time, over all connections; more are answered 503.
    pub requests: usize,
    /// HTTP/2 streams at a time on one client connection; more are refused, and may be sent again.
    pub streams: u32,
    /// Upstream connections at a time, those that are kept unused included; a request that needs one more waits for
    /// [`Limits::connect`].
    pub upstreams: usize,
    /// What all connections together may make the proxy hold, in bytes of memory: beyond it nothing is read, and those
    /// end on which nothing moves. (What the process takes of the machine is a third more at most.)
    pub memory: usize,
    /// Where a token is asked for: which part of the connections, one in so many, may be without it at a time.
    pub strangers: usize,
    /// How long each of those may take to show it; counted slower on a busy machine.
    pub stranger: Duration,
    /// Fields in the head of a message, on both legs: 431, or 502 for an upstream's.
    pub fields: usize,
    /// Size of the head of a message, on both legs: 431, or 502 for an upstream's.
    pub head: usize,

    /// How long a client may say nothing at all on a new connection. Counted slower on a busy machine, as the two
    /// below.
    pub silence: Duration,
    /// How long it may be silent within the head of a request, or before the next one.
    pub header: Duration,
    /// How long it may be silent within a TLS handshake.
    pub handshake: Duration,
    /// From an accepted connection to the end of the first request's head, and for each later head from its first byte
    /// to its end: however often something comes.
    pub arrival: Duration,
    /// How long nothing may move in a body, in either direction; and, three times that, on a client's connection
    /// whatever goes on there: 0-window stalls, idle WebSockets.
    pub stall: Duration,

    /// Resolving the name of an upstream: 504.
    pub resolve: Duration,
    /// Connecting to an upstream, over all of its addresses: 504.
    pub connect: Duration,
    /// The TLS handshake with an upstream: 504.
    pub tls: Duration,
    /// From a request sent upstream, or the last byte of its body that moved, to the head of its answer: 504.
    pub response: Duration,
    /// How long an upload whose client waits for `100 Continue` waits for the upstream's word.
    pub expect: Duration,
    /// How long a client that sends no more (and may be gone) is waited for to be answered.
    pub half_closed: Duration,

    /// How long an unused upstream connection is kept.
    pub idle: Duration,
    /// How many unused HTTP/1 connections to one host are kept.
    pub idle_per_host: usize,
    /// To how many hosts connections are kept.
    pub idle_hosts: usize,

    /// How long connections may go on after the shutdown was asked for.
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
            idle_per_host: 16,
            idle_hosts: 256,
            grace: Duration::from_millis(500),
        }
    }
}

impl Limits {
    /// These, lowered so that they fit into `descriptors` (RLIMIT_NOFILE): a proxy that runs out of them can neither
    /// accept nor dial.
    #[must_use]
    pub(crate) fn within(mut self, descriptors: u64) -> Limits {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        // A few are the log's, the runtime's and the kernel events'; resolving takes some for a moment.
        let half = (descriptors.saturating_sub(descriptors / 8) / 2).max(1);
        self.connections = self.connections.min(half);
        self.upstreams = self.upstreams.min(half);
        self
    }

    /// How much of a body is read at once over HTTP/1, a head and a bit. By itself hyper reads up to 400 KiB where much
    /// comes quickly, and keeps that much for every connection that lies unused.
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
