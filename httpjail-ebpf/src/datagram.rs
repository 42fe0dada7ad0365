//! Unconnected UDP: every `sendto` with an address, also after `connect(AF_UNSPEC)`. A connected socket was judged by its
//! connect; the kernel calls these hooks for it only when it names an address (net/ipv4/udp.c, `udp_sendmsg`: `!connected`).
//! An AF_INET address or a v4-mapped one on an IPv6 socket arrives at sendmsg4.

use crate::{
    sockaddr::Form,
    steer::{Call, steer, unsteer},
};
use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

/// IPv4.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    steer(&ctx, Form::V4, Call::Send)
}

/// IPv6.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    steer(&ctx, Form::V6, Call::Send)
}

/// The sender of a datagram, shown as the server that the program asked: stub resolvers drop answers from anybody else.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    unsteer(&ctx, Form::V4, true)
}

/// The same for IPv6 sockets, v4-mapped senders included.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    unsteer(&ctx, Form::V6, true)
}
