//! The cgroup programs of httpjail's `ebpf` backend: thirteen hooks that bend every connection of a jail towards the proxy
//! and deny whatever cannot be bent.
//!
//! | module | hooks |
//! |---|---|
//! | `connect` | connect4/6, getpeername4/6 |
//! | `datagram` | sendmsg4/6, recvmsg4/6 |
//! | `socket` | sock_create, setsockopt |
//! | `flow` | sock_ops |
//! | `egress` | egress, ingress: the backstop; `inbound`: what the policy lets in |
//!
//! The kernel's verifier follows every path through these programs at each start of a jail, which takes a good part of the
//! start. To keep the paths few and short, addresses are compared by arithmetic and not by branches (`bits`, `endpoint`),
//! addresses and names are copied as numbers and not as bytes (`halves`), and nothing loops or calls a function.
//!
//! One rule runs through all of it: an error denies, and so does a configuration that was never written (all zeroes).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bits;
mod connect;
mod datagram;
mod egress;
mod endpoint;
mod flow;
mod halves;
mod inbound;
mod lookup;
mod maps;
mod report;
mod sockaddr;
mod socket;
mod steer;

/// What a cgroup program answers to refuse: the system call fails with EPERM, the packet is dropped.
const DENY: i32 = 0;
/// What a cgroup program answers to let pass.
const ALLOW: i32 = 1;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: nothing here panics, and the verifier would refuse the endless loop if it could be.
    loop {}
}

// Socket storage and the lookups are `gpl_only` helpers (net/core/filter.c). The word says which helpers may be called; the
// source stays CC0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
