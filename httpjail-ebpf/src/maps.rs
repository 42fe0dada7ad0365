//! The maps, and who writes, reads and removes what is in them.
//!
//! | map | written by | read by | removed |
//! |---|---|---|---|
//! | CONFIG | supervisor, after attaching | every program | by the kernel with the cgroup |
//! | SOCKETS | sock_create, connect, sendmsg, sock_ops | every program but setsockopt | by the kernel with the socket |
//! | FLOWS | sock_ops at TCP_CONNECT_CB | proxy, resolver (TCP) | by the reader's take; by sock_ops when the connect fails |
//! | INBOUND | supervisor, before arming | ingress, egress | never |
//! | ASKED | egress, for `--dns open` | resolver (UDP) | by the kernel, the oldest first |
//! | EVENTS | every program that denies | proxy | by the reader; lost (and counted) when full |
//! | STATS | every program | supervisor | never |

use crate::halves::Halves;
use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_CGROUP_STORAGE, bpf_sock},
    btf_maps::SkStorage,
    helpers::generated::{bpf_get_local_storage, bpf_sk_storage_get},
    macros::{btf_map, map},
    maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use core::{cell::UnsafeCell, ffi::c_void, ptr::null_mut};
#[cfg(doc)]
use httpjail_common::inbound_key;
use httpjail_common::{FlowKey, FlowValue, INBOUND_MAX, JailConfig, Stat};

/// What is known of a socket of the jail, from its birth to its end. A socket without it was made elsewhere.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SocketState {
    /// The jail's id.
    pub jail: u64,
    /// The cgroup of the process that made or last connected it.
    pub cgroup: u64,
    /// Where it was last asked to go, if `redirected`.
    pub destination: Halves,
    /// The thread that made or last connected it.
    pub comm: Halves,
    /// Its process (thread group) id.
    pub pid: u32,
    /// The port it was last asked to go to, if `redirected`.
    pub port: u16,
    /// 1 if its last connect (or datagram) was bent towards httpjail.
    pub redirected: u16,
}

/// A legacy map definition as loaders read it. aya-ebpf's own cgroup storage knows only the 12-byte key, which keeps one
/// value for each attach type; the 8-byte key (the cgroup id) keeps one for the cgroup, shared by all thirteen programs
/// (kernel/bpf/local_storage.c, `cgroup_storage_key_cmp`).
#[repr(C)]
struct MapDefinition {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    id: u32,
    pinning: u32,
}

// `UnsafeCell` puts it into the writable `maps` section with the others: an immutable static makes a second, read-only one.
#[repr(transparent)]
pub struct RawMap(UnsafeCell<MapDefinition>);

// SAFETY: nothing reads or writes the definition at run time; the loader turns its address into a map.
unsafe impl Sync for RawMap {}

#[unsafe(link_section = "maps")]
#[unsafe(export_name = "CONFIG")]
static CONFIG: RawMap = RawMap(UnsafeCell::new(MapDefinition {
    map_type: BPF_MAP_TYPE_CGROUP_STORAGE,
    key_size: size_of::<u64>() as u32,
    value_size: size_of::<JailConfig>() as u32,
    max_entries: 0,
    map_flags: 0,
    id: 0,
    pinning: 0,
}));

#[btf_map]
static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// As many connections as may wait between SYN and accept. Full: the connection is not recorded, so the proxy closes it.
#[map]
pub static FLOWS: HashMap<FlowKey, FlowValue> = HashMap::with_max_entries(65536, BPF_F_NO_PREALLOC);

/// The server that a datagram to the resolver was meant for. An answer that was evicted is not given: a client asks again.
#[map]
pub static ASKED: LruHashMap<FlowKey, FlowValue> = LruHashMap::with_max_entries(4096, 0);

/// Ports of the jail and networks of peers that may connect to them, if the policy lets anybody in ([`inbound_key`]).
#[map]
pub static INBOUND: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(INBOUND_MAX, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// For each CPU its own, because the target has no atomic read-modify-write in core.
#[map]
pub static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Stat::COUNT, 0);

/// The configuration of the jail in which the program runs, if it is armed.
#[inline(always)]
pub fn armed() -> Option<&'static JailConfig> {
    // SAFETY: the helper never returns NULL for a map of this type, and the value lives as long as the program runs (RCU).
    let config = unsafe { &*bpf_get_local_storage((&raw const CONFIG).cast_mut().cast(), 0).cast::<JailConfig>() };
    if config.armed == 1 { Some(config) } else { None }
}

/// The state of `socket` if it belongs to the jail.
///
/// # Safety
/// `socket` is NULL-checked and of a kind that the helper takes (full socket).
#[inline(always)]
pub unsafe fn socket_state(socket: *mut bpf_sock, jail: u64) -> Option<*mut SocketState> {
    // SAFETY: the caller vouches for the pointer; without CREATE the helper only looks. aya's wrapper takes nothing but a
    // `SockAddrContext`, hence the plain helper.
    let state = unsafe { storage(socket, 0) };
    // SAFETY: not NULL, so a value of this map.
    if state.is_null() || unsafe { (*state).jail } != jail {
        None
    } else {
        Some(state)
    }
}

/// The state of `socket`, made if there is none. `None` when memory is short.
///
/// # Safety
/// As for [`socket_state`].
#[inline(always)]
pub unsafe fn socket_state_or_new(socket: *mut bpf_sock) -> Option<*mut SocketState> {
    // SAFETY: the caller vouches for the pointer.
    let state = unsafe { storage(socket, BPF_SK_STORAGE_GET_F_CREATE.into()) };
    if state.is_null() { None } else { Some(state) }
}

#[inline(always)]
unsafe fn storage(socket: *mut bpf_sock, flags: u64) -> *mut SocketState {
    let map: *mut c_void = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: the map is ours and the caller vouches for the socket.
    unsafe { bpf_sk_storage_get(map, socket.cast(), null_mut(), flags).cast() }
}
