//! Flows: handing the original destination from the socket, where connect left it, to the proxy, which knows a connection
//! only by its address.
//!
//! At TCP_CONNECT_CB the local address and port are chosen and the SYN is not yet built (net/ipv4/tcp_output.c,
//! `tcp_connect`): the flow is there before the proxy can accept. ACTIVE_ESTABLISHED would be too late with TCP fast open,
//! where data and accept come with the SYN.

use crate::{
    halves::{from_words, to_address, to_comm},
    maps::{FLOWS, armed, socket_state, socket_state_or_new},
    report::count,
};
use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB,
    },
    helpers::generated::bpf_get_netns_cookie,
    macros::sock_ops,
    programs::SockOpsContext,
};
use core::ptr::read_volatile;
use httpjail_common::{Address, FlowKey, FlowValue, JailConfig, Stat};

const AF_INET: u32 = 2;
const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u32 = 7;

/// Writes and removes flows, and marks accepted sockets. It can deny nothing: what it fails to write, the proxy misses and
/// closes.
#[sock_ops]
pub fn sock_ops(ctx: SockOpsContext) -> u32 {
    if let Some(config) = armed() {
        match ctx.op() {
            BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx, config),
            BPF_SOCK_OPS_STATE_CB => state_changed(&ctx),
            BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(&ctx, config),
            _ => {}
        }
    }
    // 1 is "no error" (kernel/bpf/cgroup.c); the operations that ask for a value take their default when none was set.
    1
}

#[inline(always)]
fn connecting(ctx: &SockOpsContext, config: &JailConfig) {
    let key = key(ctx);
    // SAFETY: the context is alive while the program runs.
    let socket = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return;
    }
    // SAFETY: a connecting socket is a full socket.
    let Some(state) = (unsafe { socket_state(socket, config.jail) }) else {
        return;
    };
    // SAFETY: a value of the socket's storage, alive while the program runs.
    let state = unsafe { &*state };
    if state.redirected != 1 {
        return;
    }
    let flow = FlowValue {
        cgroup: state.cgroup,
        address: to_address(state.destination),
        comm: to_comm(state.comm),
        pid: state.pid,
        port: state.port.into(),
    };
    if FLOWS.insert(key, flow, 0).is_err() {
        count(Stat::FlowLost);
        return;
    }
    count(Stat::FlowWritten);
    // Without this the kernel does not tell of the failed connect, and the entry stays until its port is used again.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// Only a connect that failed takes its flow back. Any other connection may still wait in the proxy's accept queue after the
/// client closed it.
#[inline(always)]
fn state_changed(ctx: &SockOpsContext) {
    if ctx.arg(0) == TCP_SYN_SENT && ctx.arg(1) == TCP_CLOSE {
        let _ = FLOWS.remove(key(ctx));
    }
}

/// A socket that `accept` will return is not born in sock_create: it gets the jail's mark here. The hook runs in the
/// listener's cgroup, so the connection is the jail's.
#[inline(always)]
fn accepted(ctx: &SockOpsContext, config: &JailConfig) {
    // SAFETY: the context is alive while the program runs.
    let socket = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return;
    }
    // SAFETY: an established socket is a full socket; the value is alive while the program runs.
    unsafe {
        if let Some(state) = socket_state_or_new(socket) {
            (*state).jail = config.jail;
        }
    }
}

#[inline(always)]
fn key(ctx: &SockOpsContext) -> FlowKey {
    let ops = ctx.ops;
    // SAFETY: the context is alive while the program runs. Volatile, constant indices, before any branch: see `sockaddr`.
    unsafe {
        let netns = bpf_get_netns_cookie(ctx.as_ptr());
        let family = read_volatile(&raw const (*ops).family);
        let port = read_volatile(&raw const (*ops).local_port);
        let v4 = read_volatile(&raw const (*ops).local_ip4);
        let v6 = [
            read_volatile(&raw const (*ops).local_ip6[0]),
            read_volatile(&raw const (*ops).local_ip6[1]),
            read_volatile(&raw const (*ops).local_ip6[2]),
            read_volatile(&raw const (*ops).local_ip6[3]),
        ];
        let address = if family == AF_INET {
            Address::v4(v4.to_ne_bytes())
        } else {
            to_address(from_words(v6))
        };
        FlowKey {
            netns,
            address,
            port,
            reserved: 0,
        }
    }
}
