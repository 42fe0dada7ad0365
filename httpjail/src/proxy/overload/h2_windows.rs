//! HTTP/2 flow-control windows: how much of a body the other side may send before it is read.
//!
//! A window is memory that is promised. The first connections get windows that never slow them down. With thousands of
//! connections each gets what suffices for a peer on the same machine, and all of them together stay within what
//! [`crate::proxy::overload::memory`] allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The windows of one connection, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
    /// What is kept of a stream that the other side does not read.
    pub(crate) unsent: usize,
}

/// Towards clients: the leg is local, and larger windows would only let the jail fill our memory.
const CLIENTS: [(usize, Windows); 3] = [
    (32, windows(1 << 20, 4 << 20, 400 << 10)),
    (256, windows(128 << 10, 512 << 10, 64 << 10)),
    (usize::MAX, windows(32 << 10, 64 << 10, 16 << 10)),
];

/// How much of one answer is kept at most for a client that does not take it, in bytes: a stream's `unsent`, and what was
/// read at once when that was full.
pub(crate) const UNSENT_MAX: usize = 512 << 10;
const _: () = assert!(CLIENTS[0].1.unsent < UNSENT_MAX);

/// Towards upstreams. Long fat paths need a window of their bandwidth-delay product; 4 MiB is that at 300 ms for 100
/// Mbit/s.
const UPSTREAMS: [(usize, Windows); 3] = [
    (16, windows(4 << 20, 16 << 20, 1 << 20)),
    (64, windows(1 << 20, 4 << 20, 256 << 10)),
    (usize::MAX, windows(128 << 10, 256 << 10, 64 << 10)),
];

const fn windows(stream: u32, connection: u32, unsent: usize) -> Windows {
    Windows {
        stream,
        connection,
        unsent,
    }
}

/// How many connections of HTTP/2 there are on either leg.
#[derive(Debug, Default, Clone)]
pub(crate) struct ConnectionCounts {
    clients: Arc<AtomicUsize>,
    upstreams: Arc<AtomicUsize>,
}

impl ConnectionCounts {
    /// The windows of one more connection of a client; it counts as long as its place is kept.
    pub(crate) fn client(&self) -> (Windows, CountGuard) {
        one_more(&self.clients, &CLIENTS)
    }

    /// The same of a connection to an upstream.
    pub(crate) fn upstream(&self) -> (Windows, CountGuard) {
        one_more(&self.upstreams, &UPSTREAMS)
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct CountGuard(Arc<AtomicUsize>);

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn one_more(count: &Arc<AtomicUsize>, table: &[(usize, Windows); 3]) -> (Windows, CountGuard) {
    let before = count.fetch_add(1, Ordering::Relaxed);
    let (_, windows) = table.iter().find(|(below, _)| before < *below).unwrap_or(&table[2]);
    (*windows, CountGuard(count.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: D08.
    #[test]
    fn they_shrink_with_the_number_of_connections_and_grow_again() {
        let counts = ConnectionCounts::default();
        let mut all: Vec<_> = (0..300).map(|_| counts.client()).collect();
        let of = |nth: usize| all[nth].0.connection;
        assert_eq!(
            [of(0), of(31), of(32), of(255), of(256)],
            [4 << 20, 4 << 20, 512 << 10, 512 << 10, 64 << 10]
        );
        assert_eq!(counts.upstream().0.connection, 16 << 20);
        all.clear();
        assert_eq!(counts.client().0.connection, 4 << 20);
    }

    /// What the table promises to all connections that there may be is less than what they may hold together.
    // Proves: D08.
    #[test]
    fn the_promises_can_be_kept() {
        let limits = crate::proxy::limits::Limits::default();
        let promised = |table: &[(usize, Windows); 3], most: usize| -> usize {
            let mut from = 0;
            let tier = |(below, windows): &(usize, Windows)| {
                let count = (*below).min(most).saturating_sub(from);
                from = (*below).min(most);
                count * windows.connection as usize
            };
            table.iter().map(tier).sum()
        };
        assert!(promised(&CLIENTS, limits.connections) < limits.memory);
    }
}
