//! Unused upstream connections, and the permits for all of them.
//!
//! Of the connections to one host the one that was used last is used first, and one that was unused for
//! [`Limits::idle`] is closed. So as many are kept as were in use at a time in that period, and no other bound is needed:
//! with a smaller number than there are clients, connections would be closed and opened all the time. When permits run
//! out, the connection that has been unused for the longest time makes way, whichever host it leads to. When memory
//! runs out, all of them do.
//!
//! A connection is read and written by the thread that opened it. A request of another thread wakes that thread, and is
//! woken by it. So of those that were used lately a connection of the request's own thread comes first.

use crate::proxy::limits::Limits;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::upstream::client_connections::{AllClientConnections, SlotGuard};
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::http2::{Http2, Stream};
use crate::proxy::upstream::key::PoolKey;
use crate::sync::lock;
use ahash::RandomState;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Among so many that were used last one of the own thread is looked for.
const LATELY: usize = 16;

/// The unused connections of one proxy, and those of HTTP/2 that are used by several requests at a time.
pub(crate) struct KeptConnections {
    limits: Limits,
    permits: Arc<Semaphore>,
    /// How many permits were given.
    dialed: AtomicU64,
    /// Those that belong to one client.
    bound: AllClientConnections,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<PoolKey, Slot, RandomState>,
    /// How many wait for a permit.
    waiting: usize,
}

/// The connections of one key.
#[derive(Default)]
struct Slot {
    /// With the time since when each is unused; the last was used last.
    unused: VecDeque<(Http1, Instant)>,
    shared: Vec<Http2>,
    /// Held while the first connection is opened: if that one speaks HTTP/2, the other requests need no connection of
    /// their own.
    first: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

impl KeptConnections {
    pub(crate) fn new(limits: &Limits) -> Arc<KeptConnections> {
        Arc::new(KeptConnections {
            limits: *limits,
            permits: Arc::new(Semaphore::new(limits.upstreams)),
            dialed: AtomicU64::new(0),
            bound: AllClientConnections::default(),
            state: Mutex::default(),
        })
    }

    /// Returns how many connections have a permit, and how many have had one.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let open = self.limits.upstreams.saturating_sub(self.permits.available_permits());
        (open as u64, self.dialed.load(Ordering::Relaxed))
    }

    /// Waits for a permit for one more connection. If none is free, one of the unused connections is closed.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let permit = self.free_permit().await?;
        self.dialed.fetch_add(1, Ordering::Relaxed);
        Ok(permit)
    }

    async fn free_permit(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let permit = self.permits.clone().acquire_owned();
        tokio::pin!(permit);
        tokio::select! {
            biased;
            permit = &mut permit => return permit,
            // It stands in line now: what is closed for it goes to no other.
            () = std::future::ready(()) => {}
        }
        let _waiting = Waiting::begin(self);
        permit.await
    }

    /// Returns an open connection. If there is none, and it is not known which protocol the server speaks, returns the
    /// lock of the first connection. `asking` says that the server wants HTTP/1.1.
    pub(crate) fn take(&self, key: &PoolKey, asking: bool) -> Result<Connection, Option<Arc<tokio::sync::Mutex<()>>>> {
        let slots = &mut self.lock().slots;
        let may_grow = slots.len() < self.limits.idle_hosts;
        let slot = match slots.get_mut(key) {
            Some(slot) => slot,
            None if may_grow => slots.entry(key.clone()).or_default(),
            None => return Err(None),
        };
        while let Some((http1, since)) = slot.next() {
            if http1.is_ready() && since.elapsed() <= self.limits.idle {
                return Ok(Connection::Http1(http1));
            }
        }
        if asking {
            return Err(None);
        }
        slot.shared.retain(Http2::is_open);
        if let Some(shared) = slot.shared.iter_mut().find(|shared| shared.has_room()) {
            return Ok(Connection::Http2(shared.stream()));
        }
        Err((!slot.speaks_http1 && key.protocol != UpstreamProtocol::Http1).then(|| slot.first.clone()))
    }

    /// Keeps a connection whose exchange is over.
    pub(crate) fn put(&self, key: PoolKey, http1: Http1) {
        let State { slots, waiting } = &mut *self.lock();
        if *waiting > 0 {
            return;
        }
        let may_grow = slots.len() < self.limits.idle_hosts;
        let slot = match slots.get_mut(&key) {
            Some(slot) => slot,
            None if may_grow => slots.entry(key).or_default(),
            None => return,
        };
        if slot.unused.len() < self.limits.idle_per_host {
            slot.unused.push_back((http1, Instant::now()));
        }
    }

    /// Keeps one that belongs to the client whose place `turn` is.
    pub(crate) fn put_bound(&self, mut turn: SlotGuard, http1: Http1) {
        *turn = (self.lock().waiting == 0).then_some(http1);
    }

    /// Takes note of the place of a client's own connection.
    pub(crate) fn note_bound(&self, turn: &SlotGuard) {
        self.bound.note(turn);
    }

    /// Shares a new connection with the requests to come.
    pub(crate) fn share(&self, key: &PoolKey, mut shared: Http2) -> Stream {
        let stream = shared.stream();
        if let Some(slot) = self.lock().slots.get_mut(key) {
            slot.shared.push(shared);
        }
        stream
    }

    /// Notes that the server speaks HTTP/1 alone.
    pub(crate) fn note_http1(&self, key: &PoolKey) {
        if let Some(slot) = self.lock().slots.get_mut(key) {
            slot.speaks_http1 = true;
        }
    }

    /// Closes what has been unused for too long.
    pub(crate) fn sweep(&self) {
        let timeout = self.limits.idle;
        self.lock().slots.retain(|_, slot| {
            slot.unused
                .retain(|(http1, since)| !http1.is_closed() && since.elapsed() <= timeout);
            slot.unused.shrink_to_fit();
            slot.shared
                .retain(|shared| shared.is_open() && !shared.is_unused_for(timeout));
            !slot.unused.is_empty() || !slot.shared.is_empty() || Arc::strong_count(&slot.first) > 1
        });
    }

    /// Closes all that are unused, and returns whether there were any.
    pub(crate) fn close_unused(&self) -> bool {
        let mut any = false;
        for slot in self.lock().slots.values_mut() {
            any |= !slot.unused.is_empty() || slot.shared.iter().any(Http2::is_unused);
            slot.unused = VecDeque::new();
            slot.shared.retain(|shared| !shared.is_unused());
        }
        self.bound.close_unused() || any
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Slot {
    /// Takes the unused connection that was used last, but one of this thread if there is one among the last few.
    fn next(&mut self) -> Option<(Http1, Instant)> {
        let here = thread::current().id();
        let last = self.unused.iter().rev().take(LATELY);
        let nearest = last.enumerate().find(|(_, (http1, _))| http1.thread == here);
        let behind = nearest.map_or(0, |(behind, _)| behind);
        self.unused.remove(self.unused.len().checked_sub(behind + 1)?)
    }
}

impl State {
    /// Closes the connection of HTTP/1 that has been unused for the longest time, and returns whether there was one.
    fn close_oldest(&mut self) -> bool {
        loop {
            let kept = self.slots.values_mut().filter(|slot| !slot.unused.is_empty());
            let Some(slot) = kept.min_by_key(|slot| slot.unused.front().map(|(_, since)| *since)) else {
                return false;
            };
            // One that its server has closed has no permit any more.
            if slot.unused.pop_front().is_some_and(|(http1, _)| !http1.is_closed()) {
                return true;
            }
        }
    }
}

/// One that waits for a permit, for as long as this lives.
struct Waiting<'a>(&'a KeptConnections);

impl Waiting<'_> {
    /// Begins to wait: from now on nothing is kept, and something that was makes way.
    fn begin(kept: &KeptConnections) -> Waiting<'_> {
        let mut state = kept.lock();
        state.waiting += 1;
        let closed = state.close_oldest();
        drop(state);
        if !closed {
            kept.close_unused();
        }
        Waiting(kept)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
