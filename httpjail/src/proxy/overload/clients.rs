//! Tracks the client connections, and closes some of them when connections or memory run out.
//!
//! When all connection permits are taken, the oldest connection that has not sent a request makes way for the next one,
//! before any of its clocks has run out. Where every process on the host can connect (`serve`), a client that has not
//! shown the token is a stranger: strangers have a few seconds, share a few connections, and the next stranger takes
//! the place of the oldest. When memory runs out ([`crate::proxy::overload::memory`]), the connections end that hold the
//! most answer for the longest time without a byte that moves: a client that makes the proxy hold data and does not take
//! it is among them. A client that is being served, or that waits for an answer, is not.

use crate::proxy::limits::Limits;
use crate::proxy::overload::memory::Memory;
use crate::proxy::overload::pace::Paced;
use crate::sync::lock;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The reasons in the log.
const TOO_MUCH: &str = "too much memory is held";
const TOO_MANY: &str = "too many clients without the token";
const TOO_LATE: &str = "no token in time";
const NO_PERMIT: &str = "no request yet, and no place for another connection (limits: connections)";

/// What every connection is taken to hold besides answers, in bytes: heads, uploads, buffers.
const HELD_BY_ALL: u64 = 64 << 10;

/// How long connections may take to end before more are ended, and how often that is checked.
const GONE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// The client connections of one proxy.
pub(crate) struct ConnectedClients {
    members: Mutex<Members>,
    began: Instant,
    /// How many strangers there may be, and for how long each.
    strangers: usize,
    patience: Duration,
}

#[derive(Default)]
struct Members {
    /// In the order in which they were accepted.
    all: BTreeMap<u64, Arc<Member>>,
    strangers: BTreeMap<u64, Arc<Member>>,
    /// Those that have not sent a request yet.
    unproven: BTreeMap<u64, Arc<Member>>,
    next: u64,
}

#[derive(Default)]
struct Member {
    /// When something last moved on it, in milliseconds since the proxy began.
    moved: AtomicU64,
    /// How much of its answers it has not taken, in bytes.
    held: AtomicUsize,
    known: AtomicBool,
    end: OnceLock<&'static str>,
    ended: Notify,
}

impl Member {
    /// How much it holds times how long nothing has moved on it, at `now`, in milliseconds since the proxy began.
    fn burden(&self, now: u64) -> u64 {
        let held = u64::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        let still = now.saturating_sub(self.moved.load(Ordering::Relaxed));
        held.saturating_add(HELD_BY_ALL).saturating_mul(still.saturating_add(1))
    }

    /// Asks the connection to end; returns whether it was the first to ask.
    fn end(&self, why: &'static str) -> bool {
        let first = self.end.set(why).is_ok();
        if first {
            self.ended.notify_one();
        }
        first
    }
}

impl ConnectedClients {
    pub(crate) fn new(limits: &Limits) -> Arc<ConnectedClients> {
        Arc::new(ConnectedClients {
            members: Mutex::default(),
            began: Instant::now(),
            strangers: (limits.connections / limits.strangers).max(1),
            patience: limits.stranger,
        })
    }

    /// Registers a connection. If there are too many strangers, the oldest one ends.
    pub(crate) fn enter(self: &Arc<ConnectedClients>, stranger: bool) -> Registration {
        let member = Arc::new(Member::default());
        member.known.store(!stranger, Ordering::Relaxed);
        let mut members = self.lock();
        let id = members.next;
        members.next += 1;
        members.all.insert(id, member.clone());
        members.unproven.insert(id, member.clone());
        if stranger {
            members.strangers.insert(id, member.clone());
            if members.strangers.len() > self.strangers
                && let Some((_, oldest)) = members.strangers.pop_first()
            {
                oldest.end(TOO_MANY);
            }
        }
        drop(members);
        let registration = Registration {
            clients: self.clone(),
            member,
            id,
        };
        registration.moves();
        registration
    }

    /// Ends the oldest stranger, or else the oldest connection that has not sent a request.
    pub(crate) fn make_room(&self) {
        let mut members = self.lock();
        while let Some((_, oldest)) = members.strangers.pop_first() {
            if oldest.end(TOO_MANY) {
                return;
            }
        }
        while let Some((_, oldest)) = members.unproven.pop_first() {
            if oldest.end(NO_PERMIT) {
                return;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().all.is_empty()
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> u64 {
        self.lock().all.len() as u64
    }

    /// Ends connections while too much memory is held, for as long as it is awaited: unused ones to servers first, which
    /// `close_unused` does if there are any. `is_unused` says whether there is no connection that could hold memory.
    pub(crate) async fn keep_within(
        &self,
        memory: &Memory,
        is_unused: impl Fn() -> bool,
        close_unused: impl Fn() -> bool,
    ) {
        loop {
            memory.pressed().await;
            if close_unused() {
                tokio::time::sleep(LOOK).await;
                memory.go_on();
            }
            let share = memory.share_to_end();
            if is_unused() {
                // It is not the connections.
                memory.measure();
            } else if share > 0.0 {
                self.end_heaviest(share, self.now());
            }
            let began = Instant::now();
            loop {
                tokio::time::sleep(LOOK).await;
                memory.go_on();
                if memory.share_to_end() == 0.0 || !self.are_leaving() || began.elapsed() > GONE {
                    break;
                }
            }
        }
    }

    /// Ends a share of all connections, beginning with those that hold the most for the longest time.
    fn end_heaviest(&self, share: f64, now: u64) {
        let mut staying: Vec<_> = {
            let members = self.lock();
            let all = members.all.values().filter(|member| member.end.get().is_none());
            all.cloned().collect()
        };
        let count = (staying.len() as f64 * share).ceil() as usize;
        staying.sort_by_cached_key(|member| Reverse(member.burden(now)));
        tracing::debug!("too much memory is held: {count} of {} connections end", staying.len());
        for member in staying.iter().take(count) {
            member.end(TOO_MUCH);
        }
    }

    /// Returns the time in milliseconds since the proxy began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn are_leaving(&self) -> bool {
        self.lock().all.values().any(|member| member.end.get().is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }
}

/// The registration of one client connection, which ends when it is dropped.
pub(crate) struct Registration {
    clients: Arc<ConnectedClients>,
    member: Arc<Member>,
    id: u64,
}

impl Registration {
    /// Notes that something moved on the connection.
    pub(crate) fn moves(&self) {
        self.member.moved.store(self.clients.now(), Ordering::Relaxed);
    }

    /// Returns when something last moved, in milliseconds since the proxy began.
    pub(crate) fn moved(&self) -> u64 {
        self.member.moved.load(Ordering::Relaxed)
    }

    /// Notes that the proxy holds `bytes` more of its answers.
    pub(crate) fn holds(&self, bytes: usize) {
        self.member.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that it has taken `bytes`. Some of them are no answer's (TLS, heads of frames), so that this may be more
    /// than was held.
    pub(crate) fn takes(&self, bytes: usize) {
        let less = |held: usize| Some(held.saturating_sub(bytes));
        // It cannot fail: `less` always returns a number.
        let _ = self
            .member
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Notes that it has sent a request.
    pub(crate) fn note_request(&self) {
        self.clients.lock().unproven.remove(&self.id);
    }

    /// Notes that it has shown the token.
    pub(crate) fn note_token(&self) {
        if !self.member.known.swap(true, Ordering::Relaxed) {
            self.clients.lock().strangers.remove(&self.id);
        }
    }

    /// Returns why it has to end, if it has to.
    pub(crate) fn why(&self) -> Option<&'static str> {
        self.member.end.get().copied()
    }

    /// Waits until it has to end.
    pub(crate) async fn must_end(&self) {
        let known = || self.member.known.load(Ordering::Relaxed);
        if !known() {
            tokio::select! {
                () = self.member.ended.notified() => return,
                () = Paced::new(self.clients.patience).pass() => if !known() {
                    self.member.end(TOO_LATE);
                    return;
                },
            }
        }
        self.member.ended.notified().await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut members = self.clients.lock();
        members.all.remove(&self.id);
        members.strangers.remove(&self.id);
        members.unproven.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Arc<ConnectedClients> {
        ConnectedClients::new(&Limits {
            connections: 16,
            strangers: 8,
            ..Limits::default()
        })
    }

    // Proves: D09.
    #[test]
    fn strangers_make_way_for_strangers() {
        let clients = clients();
        let known = clients.enter(false);
        let shown = clients.enter(true);
        let strangers: Vec<_> = (0..2).map(|_| clients.enter(true)).collect();
        assert_eq!(shown.why(), Some(TOO_MANY));
        strangers[0].note_token();
        let more: Vec<_> = (0..2).map(|_| clients.enter(true)).collect();
        let why: Vec<_> = strangers.iter().chain(&more).map(Registration::why).collect();
        assert_eq!(why, [None, Some(TOO_MANY), None, None]);
        clients.make_room();
        assert_eq!(
            (more[0].why(), more[1].why(), known.why()),
            (Some(TOO_MANY), None, None)
        );
        drop((known, shown, strangers, more));
        assert!(clients.is_empty());
    }

    // Proves: D09.
    #[test]
    fn who_has_asked_for_nothing_makes_way() {
        let clients = clients();
        let guests: Vec<_> = (0..4).map(|_| clients.enter(false)).collect();
        guests[0].note_request();
        guests[2].note_request();
        (0..3).for_each(|_| clients.make_room());
        let why: Vec<_> = guests.iter().map(Registration::why).collect();
        assert_eq!(why, [None, Some(NO_PERMIT), None, Some(NO_PERMIT)]);
    }

    #[test]
    fn those_go_first_that_hold_the_most_for_the_longest_time() {
        let clients = clients();
        let guests: Vec<_> = (0..4).map(|_| clients.enter(false)).collect();
        for (registration, moved) in guests.iter().zip([30, 10, 20, 40]) {
            registration.member.moved.store(moved, Ordering::Relaxed);
        }
        let gone = || -> Vec<_> { guests.iter().map(|guest| guest.why().is_some()).collect() };
        // The last one's age counts ten times: it has taken one half of what was held for it.
        guests[3].holds(20 * (64 << 10));
        guests[3].takes(11 * (64 << 10));
        clients.end_heaviest(0.25, 50);
        assert_eq!(gone(), [false, false, false, true]);
        guests[0].holds(1 << 20);
        guests[0].takes(2 << 20);
        clients.end_heaviest(0.5, 50);
        assert_eq!(gone(), [false, true, true, true]);
    }
}
