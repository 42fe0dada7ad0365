//! Upstream connections that belong to one client's connection.
//!
//! NTLM, Negotiate and similar schemes authenticate a connection once, and then every request on it counts as that
//! user's (RFC 4559 section 5, [MS-NTHT] section 3.1). On a shared connection the next request would be served as the
//! first user, and a handshake whose steps take different connections never completes. So a connection on which such a
//! proof was asked for or given stays with the client's connection that brought it, takes all requests that come from
//! there for that host, and ends with it.

use crate::net::Host;
use crate::proxy::upstream::http1::Http1;
use crate::proxy::upstream::key::PoolKey;
use crate::sync::lock;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// The number of hosts to which one client connection has connections of its own. Only clients of a proxy use several.
const HOSTS_MAX: usize = 8;

/// How many hosts are remembered that asked for authentication.
const ASKING_MAX: usize = 256;

/// The hosts that have lately asked to authenticate a connection. They are spoken to over HTTP/1.1: over HTTP/2 such a
/// proof is not possible.
pub(crate) struct AuthenticatingHosts {
    hosts: Cache<(Host, u16), ()>,
    /// Spares the others the look.
    any: AtomicBool,
}

impl AuthenticatingHosts {
    pub(crate) fn new() -> AuthenticatingHosts {
        AuthenticatingHosts {
            hosts: Cache::new(ASKING_MAX),
            any: AtomicBool::new(false),
        }
    }

    pub(crate) fn note(&self, key: &PoolKey) {
        self.hosts.insert((key.host.clone(), key.port), ());
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn has(&self, key: &PoolKey) -> bool {
        self.any.load(Ordering::Acquire) && self.hosts.get(&(key.host.clone(), key.port)).is_some()
    }
}

/// The place of one connection, which is empty while a request is on it and when it has ended.
type Place = Arc<Held>;
type Held = tokio::sync::Mutex<Option<Http1>>;

/// The right to use the connection in a slot, and to put it back.
pub(crate) type SlotGuard = OwnedMutexGuard<Option<Http1>>;

/// The upstream connections of one client's connection, one for each thing that connections are opened for.
#[derive(Default)]
pub(crate) struct ClientConnections(Mutex<Vec<(PoolKey, Place)>>);

impl ClientConnections {
    /// Returns whether there never was one.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The connection for `key` in its turn, if there ever was one. A connection is given back some moments after its
    /// answer has gone to the client, who may be faster: that is waited for, within `patience`.
    pub(crate) async fn turn(&self, key: &PoolKey, patience: Option<Duration>) -> Option<SlotGuard> {
        let place = self.lock().iter().find(|(known, _)| known == key)?.1.clone();
        match patience {
            Some(patience) => timeout(patience, place.lock_owned()).await.ok(),
            None => place.try_lock_owned().ok(),
        }
    }

    /// The place for a connection that is to belong here; nothing where another is in it already.
    pub(crate) fn claim(&self, key: &PoolKey) -> Option<SlotGuard> {
        let mut places = self.lock();
        if let Some((_, place)) = places.iter().find(|(known, _)| known == key) {
            return place.clone().try_lock_owned().ok().filter(|turn| turn.is_none());
        }
        if places.len() == HOSTS_MAX {
            // The oldest goes, with what is in it; a request that is on it ends in peace.
            places.remove(0);
        }
        let place = Place::default();
        let turn = place.clone().try_lock_owned().ok();
        places.push((key.clone(), place));
        turn
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PoolKey, Place)>> {
        lock(&self.0)
    }
}

/// The slots of all clients.
#[derive(Default)]
pub(crate) struct AllClientConnections(Mutex<Vec<Weak<Held>>>);

impl AllClientConnections {
    /// Takes note of the place that `turn` is about.
    pub(crate) fn note(&self, turn: &SlotGuard) {
        let mut places = self.lock();
        if places.len() == places.capacity() {
            places.retain(|place| place.strong_count() > 0);
        }
        places.push(Arc::downgrade(OwnedMutexGuard::mutex(turn)));
    }

    /// Closes the connections on which there is no request, and returns whether there were any.
    pub(crate) fn close_unused(&self) -> bool {
        let mut any = false;
        for place in self.lock().iter().filter_map(Weak::upgrade) {
            if let Ok(mut place) = place.try_lock() {
                any |= place.take().is_some();
            }
        }
        any
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Held>>> {
        lock(&self.0)
    }
}
