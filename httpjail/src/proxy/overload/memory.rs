//! Bounds the memory that all connections together hold.
//!
//! Each connection has bounds of its own ([`crate::proxy::limits`], [`crate::proxy::overload::h2_windows`]), and thousands of
//! connections could still fill a machine: with bodies that an upstream does not read, answers that a client does not read,
//! heads that never end. So the proxy measures what this process has allocated. When that has grown by
//! [`crate::proxy::limits::Limits::memory`], nothing more is read from clients or upstreams until there is room, because
//! everything that grows here comes out of a socket. [`crate::proxy::overload::clients`] makes room by closing the connections
//! on which nothing has moved for the longest time.

use crate::sync::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// How many bytes this process has allocated; 0 where that is not counted.
pub(crate) type Allocated = fn() -> usize;

/// The memory in use, and the streams that wait for room.
pub(crate) struct Memory {
    allocated: Allocated,
    most: usize,
    /// What was allocated while there was no connection: rules, caches.
    before: AtomicUsize,
    waiting: Mutex<HashMap<u64, Waker>>,
    next: AtomicU64,
    pressed: Notify,
}

impl Memory {
    pub(crate) fn new(allocated: Allocated, most: usize) -> Arc<Memory> {
        Arc::new(Memory {
            allocated,
            most,
            before: AtomicUsize::new(allocated()),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            pressed: Notify::new(),
        })
    }

    /// Returns a gate for one stream.
    pub(crate) fn gate(self: &Arc<Memory>) -> Gate {
        Gate {
            memory: self.clone(),
            id: self.next.fetch_add(1, Ordering::Relaxed),
            waits: false,
        }
    }

    /// Takes what is allocated now for what is allocated without any connection.
    pub(crate) fn measure(&self) {
        self.before.store((self.allocated)(), Ordering::Relaxed);
    }

    /// Waits until so much is held that connections must end.
    pub(crate) async fn pressed(&self) {
        loop {
            let pressed = self.pressed.notified();
            if self.share_to_end() > 0.0 {
                return;
            }
            // What waits now would wait for ever otherwise.
            if self.go_on() {
                pressed.await;
            }
        }
    }

    /// The part of what is held that is too much: 0 while there is room, and so much once it gets scarce that a quarter
    /// of the bound is free again.
    pub(crate) fn share_to_end(&self) -> f64 {
        let held = self.held();
        if held < self.most / 8 * 7 {
            return 0.0;
        }
        1.0 - (self.most / 4 * 3) as f64 / held.max(1) as f64
    }

    /// Wakes the streams that wait for room, if there is room, and returns whether there is.
    pub(crate) fn go_on(&self) -> bool {
        let room = self.held() < self.most;
        if room {
            // Outside of the lock: what a waker wakes or drops may have a gate.
            let waiting = std::mem::take(&mut *self.lock());
            waiting.into_values().for_each(Waker::wake);
        }
        room
    }

    fn held(&self) -> usize {
        (self.allocated)().saturating_sub(self.before.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waker>> {
        lock(&self.waiting)
    }
}

/// Stands before the reads of one stream.
pub(crate) struct Gate {
    memory: Arc<Memory>,
    id: u64,
    waits: bool,
}

impl Gate {
    /// Ready while there is room.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let held = self.memory.held();
        if held < self.memory.most / 8 * 7 {
            return Poll::Ready(());
        }
        self.memory.pressed.notify_one();
        if held < self.memory.most {
            return Poll::Ready(());
        }
        self.waits = true;
        let earlier = self.memory.lock().insert(self.id, cx.waker().clone());
        drop(earlier);
        Poll::Pending
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.waits {
            let waker = self.memory.lock().remove(&self.id);
            drop(waker);
        }
    }
}
