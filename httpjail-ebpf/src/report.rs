//! Telling the user side: one event for each refusal, and the counters.

use crate::{
    halves::{Halves, to_comm},
    maps::{EVENTS, STATS, SocketState},
};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_comm},
};
use httpjail_common::{Address, Direction, Event, JailConfig, Reason, Stat};

/// Who makes the system call.
pub struct Caller {
    pub cgroup: u64,
    pub pid: u32,
    pub comm: Halves,
}

impl Caller {
    /// The current thread. Only where the hook runs in the context of the process that asked.
    #[inline(always)]
    pub fn current() -> Self {
        let mut comm = [0; 2];
        // SAFETY: the helper writes at most the sixteen bytes that are there, and only zeroes when it fails. Called by itself
        // because aya's wrapper returns single bytes.
        let cgroup = unsafe {
            bpf_get_current_comm((&raw mut comm).cast(), size_of_val(&comm) as u32);
            bpf_get_current_cgroup_id()
        };
        Caller {
            cgroup,
            pid: (bpf_get_current_pid_tgid() >> 32) as u32,
            comm,
        }
    }

    /// Who asked for the socket's connection. That is the current thread, unless it is one of the jail's init that makes the
    /// connection for another: then the one that made the socket. The jail's programs may call themselves so too, and then
    /// tell of the socket's maker, who is one of them.
    #[inline(always)]
    pub fn of(state: *mut SocketState) -> Self {
        let mut caller = Caller::current();
        if caller.comm == CONNECTS_FOR_OTHERS {
            // SAFETY: a value of the socket's storage, alive while the program runs.
            unsafe {
                caller.cgroup = (*state).cgroup;
                caller.pid = (*state).pid;
                caller.comm = (*state).comm;
            }
        }
        caller
    }

    /// For packets, which may be handled in the context of anybody.
    pub const UNKNOWN: Caller = Caller {
        cgroup: 0,
        pid: 0,
        comm: [0; 2],
    };
}

/// The name of the threads that do so (`httpjail/src/jail/unix/workers.rs`).
const CONNECTS_FOR_OTHERS: Halves = [u64::from_ne_bytes(*b"httpjail"), u64::from_ne_bytes(*b"-unix\0\0\0")];

/// An event of this caller with nothing else in it.
#[inline(always)]
pub fn event(config: &JailConfig, caller: Caller, direction: Direction, reason: Reason) -> Event {
    Event {
        jail: config.jail,
        cgroup: caller.cgroup,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        comm: to_comm(caller.comm),
        pid: caller.pid,
        ifindex: 0,
        option: 0,
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        family: 0,
        reason: reason as u16,
        direction: direction as u16,
    }
}

/// Sends an event. A full ring drops it, which is the rate limit: the reader is told how many were lost by [`Stat::EventLost`].
#[inline(always)]
pub fn send(event: &Event) {
    count(Stat::Denied);
    #[cfg(feature = "trace")]
    aya_log_ebpf::info!(
        event,
        "denied: reason {} direction {} protocol {} port {} option {} pid {}",
        event.reason,
        event.direction,
        event.protocol,
        event.destination_port,
        event.option,
        event.pid
    );
    if EVENTS.output::<Event>(event, 0).is_err() {
        count(Stat::EventLost);
    }
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(stat: Stat) {
    if let Some(counter) = STATS.get_ptr_mut(stat as u32) {
        // SAFETY: this CPU's element of the array. A softirq may come between load and store; a lost count is no harm.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}
