//! Telling the user side: one event for each refusal, and the counters.

use crate::maps::{EVENTS, STATS};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, generated::bpf_get_current_cgroup_id};
use httpjail_common::{Address, COMM_LEN, Direction, Event, JailConfig, Reason, Stat};

/// Who makes the system call.
pub struct Caller {
    pub cgroup: u64,
    pub pid: u32,
    pub comm: [u8; COMM_LEN],
}

impl Caller {
    /// The current thread. Only where the hook runs in the context of the process that asked.
    #[inline(always)]
    pub fn current() -> Self {
        Caller {
            // SAFETY: takes nothing and only reads.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            pid: (bpf_get_current_pid_tgid() >> 32) as u32,
            comm: bpf_get_current_comm().unwrap_or([0; COMM_LEN]),
        }
    }

    /// For packets, which may be handled in the context of anybody.
    pub const UNKNOWN: Caller = Caller {
        cgroup: 0,
        pid: 0,
        comm: [0; COMM_LEN],
    };
}

/// An event of this caller with nothing else in it.
#[inline(always)]
pub fn event(config: &JailConfig, caller: Caller, direction: Direction, reason: Reason) -> Event {
    Event {
        jail: config.jail,
        cgroup: caller.cgroup,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        comm: caller.comm,
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
