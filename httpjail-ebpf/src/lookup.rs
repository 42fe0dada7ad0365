//! Whose socket is at the other end? Asked of the kernel's own socket tables at the moment it matters; there is no map of
//! ports that could go stale.

use crate::{endpoint::Endpoint, maps::socket_state};
use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use core::ffi::c_void;
use httpjail_common::JailConfig;

/// `BPF_F_CURRENT_NETNS` (-1): look in the network namespace of the context's socket or device.
const CURRENT_NETNS: u64 = u64::MAX;
/// `TCP_TIME_WAIT` of include/net/tcp_states.h.
const TIME_WAIT: u32 = 6;

/// 127.0.0.1, in network order.
const LOCALHOST: u32 = u32::from_ne_bytes([127, 0, 0, 1]);

/// What lives at an address.
#[derive(Clone, Copy, PartialEq)]
pub enum Owner {
    /// A socket of this jail.
    Jail,
    /// One of httpjail's own that may speak to the jail's listeners (`--publish`).
    Publisher,
    /// One of httpjail's own that the jail may speak to, where its mark tells.
    Httpjail,
    /// A socket of somebody else.
    Other,
    /// No socket, or the remains of one (TIME_WAIT) that takes no data.
    Nobody,
}

/// Who would receive a datagram from `from` to `to`?
///
/// # Safety
/// `ctx` is the program's own context, of a type that may look up sockets.
#[inline(always)]
pub unsafe fn udp_owner(ctx: *mut c_void, from: Endpoint, to: Endpoint, config: &JailConfig) -> Owner {
    let (mut tuple, len) = tuple(from, to);
    // SAFETY: the caller vouches for the context; tuple and length belong together.
    let socket = unsafe { bpf_sk_lookup_udp(ctx, (&raw mut tuple).cast(), len, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return Owner::Nobody;
    }
    // SAFETY: the reference that the lookup took is released once, after its last use.
    unsafe {
        let owner = owner_of(socket, config);
        bpf_sk_release(socket.cast());
        owner
    }
}

/// Who would receive a TCP segment from `from` to `to`? With a source port of 0: who listens there?
///
/// # Safety
/// As for [`udp_owner`].
#[inline(always)]
pub unsafe fn tcp_owner(ctx: *mut c_void, from: Endpoint, to: Endpoint, config: &JailConfig) -> Owner {
    let (mut tuple, len) = tuple(from, to);
    // SAFETY: as in `udp_owner`.
    let socket = unsafe { bpf_sk_lookup_tcp(ctx, (&raw mut tuple).cast(), len, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return Owner::Nobody;
    }
    // SAFETY: as in `udp_owner`.
    unsafe {
        let owner = owner_of(socket, config);
        bpf_sk_release(socket.cast());
        owner
    }
}

/// Is the proxy's listener there, which its mark tells? Asked of the one for IPv4, which is always there with the other, because
/// that takes the verifier the fewest instructions.
///
/// # Safety
/// As for [`udp_owner`].
#[inline(always)]
pub unsafe fn proxy_listens(ctx: *mut c_void, config: &JailConfig) -> bool {
    let to = Endpoint::v4(LOCALHOST, config.v4.proxy);
    let (mut tuple, len) = tuple(Endpoint::v4(LOCALHOST, 0), to);
    // SAFETY: as in `udp_owner`.
    let socket = unsafe { bpf_sk_lookup_tcp(ctx, (&raw mut tuple).cast(), len, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: as in `udp_owner`.
    unsafe {
        let mark = (*socket).mark;
        bpf_sk_release(socket.cast());
        mark == config.own_mark
    }
}

/// # Safety
/// `socket` is a full socket, held.
#[inline(always)]
unsafe fn owner_of(socket: *mut bpf_sock, config: &JailConfig) -> Owner {
    // SAFETY: the caller vouches for the socket.
    unsafe {
        if socket_state(socket, config.jail).is_some() {
            Owner::Jail
        } else if config.publish_mark != 0 && (*socket).mark == config.publish_mark {
            Owner::Publisher
        } else if config.own_mark != 0 && (*socket).mark == config.own_mark {
            Owner::Httpjail
        } else {
            Owner::Other
        }
    }
}

/// Is there nobody at all at the far end of an established connection, or only its TIME_WAIT? `bpf_sk_lookup_tcp` cannot
/// tell: it returns full sockets only, and NULL for a TIME_WAIT one as for none.
///
/// # Safety
/// As for [`udp_owner`].
#[inline(always)]
pub unsafe fn tcp_gone(ctx: *mut c_void, from: Endpoint, to: Endpoint) -> bool {
    let (mut tuple, len) = tuple(from, to);
    // SAFETY: as in `udp_owner`.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx, (&raw mut tuple).cast(), len, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return true;
    }
    // SAFETY: as in `udp_owner`.
    unsafe {
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state == TIME_WAIT
    }
}

/// `struct bpf_sock_tuple` of either family. For IPv6 it is two addresses and two ports. For IPv4 it is the same with shorter
/// addresses, so that the ports are where IPv6 has the second half of the first address.
#[repr(C)]
struct Tuple {
    addresses: [u64; 4],
    ports: u32,
}

/// The tuple and its length, which says the family.
#[inline(always)]
fn tuple(from: Endpoint, to: Endpoint) -> (Tuple, u32) {
    const V4: u64 = 2 * 4 + 4;
    const V6: u64 = 2 * 16 + 4;
    let ports = u32::from(from.port.to_be()) | u32::from(to.port.to_be()) << 16;
    let v4_addresses = u64::from(from.v4_address()) | u64::from(to.v4_address()) << 32;
    let tuple = Tuple {
        addresses: [
            to.is_v4.choose(v4_addresses, from.address[0]),
            to.is_v4.choose(ports.into(), from.address[1]),
            to.address[0],
            to.address[1],
        ],
        ports,
    };
    // The verifier must know that the length is at most that of the tuple. It does for a sum with a masked number. Linux 6.1
    // does not for `36 - 24 * is_v4`, which LLVM computes as a product with -24.
    (tuple, (V4 + (!to.is_v4).choose(V6 - V4, 0)) as u32)
}
