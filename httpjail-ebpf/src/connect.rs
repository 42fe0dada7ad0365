//! `connect(2)`, and every other call that connects: TCP fast open by `sendto` or `TCP_FASTOPEN_CONNECT`, io_uring. They all
//! pass `sk->sk_prot->pre_connect` (net/ipv4/af_inet.c, `__inet_stream_connect` and `inet_dgram_connect`), before routing.
//! So a namespace without any route is enough: what is routed is the address that these programs write.

use crate::{
    sockaddr::Form,
    steer::{Call, steer, unsteer},
};
use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

/// IPv4.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    steer(&ctx, Form::V4, Call::Connect)
}

/// IPv6, and v4-mapped destinations of IPv6 sockets.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    steer(&ctx, Form::V6, Call::Connect)
}

/// The peer as the program named it.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    unsteer(&ctx, Form::V4, false)
}

/// The same for IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    unsteer(&ctx, Form::V6, false)
}
