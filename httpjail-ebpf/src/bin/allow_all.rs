//! The control of the demo: the same program names and the same maps, with everything allowed and nothing bent. Loaded in
//! place of the real object (`HTTPJAIL_BPF_OBJECT`) it shows what the same command could do without these programs. Built by
//! `cargo xtask demo` alone; never committed, never shipped.
#![no_std]
#![no_main]

#[path = "../maps.rs"]
#[expect(dead_code, reason = "the maps must be there for the loader; only one is touched")]
mod maps;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, sock_ops},
    programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext},
};

/// Touches the configuration, as the real programs do: the kernel keeps one only for maps that an attached program uses.
fn allow() -> i32 {
    let _ = maps::armed();
    1
}

/// Allows.
#[cgroup_sock_addr(connect4)]
pub fn connect4(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(connect6)]
pub fn connect6(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(_: SockAddrContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sock(sock_create)]
pub fn sock_create(_: SockContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(ctx: SockoptContext) -> i32 {
    // SAFETY: the context is alive while the program runs. 0: take the caller's own buffer, however long.
    unsafe {
        if (*ctx.sockopt).optlen > 4096 {
            (*ctx.sockopt).optlen = 0;
        }
    }
    allow()
}

/// Allows.
#[sock_ops]
pub fn sock_ops(_: SockOpsContext) -> u32 {
    allow();
    1
}

/// Allows.
#[cgroup_skb(egress)]
pub fn egress(_: SkBuffContext) -> i32 {
    allow()
}

/// Allows.
#[cgroup_skb(ingress)]
pub fn ingress(_: SkBuffContext) -> i32 {
    allow()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
