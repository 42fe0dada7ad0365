//! Whose socket is at the other end? Asked of the kernel's own socket tables at the moment it matters; there is no map of
//! ports that could go stale.

use crate::maps::socket_state;
use aya_ebpf::{
    bindings::{
        bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use core::{
    ffi::c_void,
    mem::{transmute, zeroed},
};
use httpjail_common::{Address, JailConfig};

/// `BPF_F_CURRENT_NETNS` (-1): look in the network namespace of the context's socket or device.
const CURRENT_NETNS: u64 = u64::MAX;
/// `TCP_TIME_WAIT` of include/net/tcp_states.h.
const TIME_WAIT: u32 = 6;

/// An address as four words in network order, v4-mapped for IPv4, with a port in host order.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub address: [u32; 4],
    pub port: u16,
}

/// [`Address::from_words`] without going through single bytes, which LLVM does not put together again for this target.
#[inline(always)]
pub fn to_address(words: [u32; 4]) -> Address {
    // SAFETY: sixteen plain bytes each.
    unsafe { transmute(words) }
}

/// [`Address::words`], for the same reason.
#[inline(always)]
pub fn to_words(address: Address) -> [u32; 4] {
    // SAFETY: sixteen plain bytes each.
    unsafe { transmute(address) }
}

// The comparisons below branch on each word, on purpose: joined by `|` and `^` into one test they made connect6 take the
// verifier 290 ms and not 6, because it then carries every combination of the intermediate values along.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
const LOCALHOST_V4: u32 = u32::from_ne_bytes([127, 0, 0, 1]);
const LOCALHOST_V6: u32 = u32::from_ne_bytes([0, 0, 0, 1]);

impl Endpoint {
    #[inline(always)]
    pub fn v4(address: u32, port: u16) -> Self {
        Endpoint {
            address: [0, 0, MAPPED, address],
            port,
        }
    }

    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        self.address[0] == 0 && self.address[1] == 0 && self.address[2] == MAPPED
    }

    /// 0.0.0.0 or `::`, which the kernel takes for "this host".
    #[inline(always)]
    pub fn is_unspecified(&self) -> bool {
        self.address[3] == 0
            && self.address[0] == 0
            && self.address[1] == 0
            && (self.address[2] == 0 || self.address[2] == MAPPED)
    }

    /// 127.0.0.1 or `::1`, where httpjail's own sockets listen.
    #[inline(always)]
    pub fn is_localhost(&self) -> bool {
        if self.is_v4() {
            self.address[3] == LOCALHOST_V4
        } else {
            self.address[0] == 0 && self.address[1] == 0 && self.address[2] == 0 && self.address[3] == LOCALHOST_V6
        }
    }

    /// The localhost address of the same family, with another port.
    #[inline(always)]
    pub fn localhost(&self, port: u16) -> Self {
        if self.is_v4() {
            Endpoint::v4(LOCALHOST_V4, port)
        } else {
            Endpoint {
                address: [0, 0, 0, LOCALHOST_V6],
                port,
            }
        }
    }

    /// An address of the jail itself: loopback (127/8, `::1`) or the extra one on `lo`. A listener on a wildcard address would
    /// answer for every address that is routed here; only these count.
    #[inline(always)]
    pub fn is_local(&self, config: &JailConfig) -> bool {
        if self.is_v4() && self.address[3] & u32::from_ne_bytes([0xff, 0, 0, 0]) == u32::from_ne_bytes([127, 0, 0, 0]) {
            return true;
        }
        let (v4, v6) = (to_words(config.own_v4), to_words(config.own_v6));
        self.is_localhost() || (self.same_address(v4) && v4[3] != 0) || (self.same_address(v6) && v6[3] != 0)
    }

    #[inline(always)]
    fn same_address(&self, other: [u32; 4]) -> bool {
        self.address[0] == other[0]
            && self.address[1] == other[1]
            && self.address[2] == other[2]
            && self.address[3] == other[3]
    }
}

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
    let socket = unsafe { bpf_sk_lookup_udp(ctx, &mut tuple, len, CURRENT_NETNS, 0) };
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
    let socket = unsafe { bpf_sk_lookup_tcp(ctx, &mut tuple, len, CURRENT_NETNS, 0) };
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
    let socket = unsafe { bpf_skc_lookup_tcp(ctx, &mut tuple, len, CURRENT_NETNS, 0) };
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

#[inline(always)]
fn tuple(from: Endpoint, to: Endpoint) -> (bpf_sock_tuple, u32) {
    // SAFETY: plain integers. Zeroed as a whole because the verifier wants every byte of it written.
    let mut tuple: bpf_sock_tuple = unsafe { zeroed() };
    if to.is_v4() {
        tuple.__bindgen_anon_1.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: from.address[3],
            daddr: to.address[3],
            sport: from.port.to_be(),
            dport: to.port.to_be(),
        };
        (tuple, size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32)
    } else {
        tuple.__bindgen_anon_1.ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: from.address,
            daddr: to.address,
            sport: from.port.to_be(),
            dport: to.port.to_be(),
        };
        (tuple, size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>() as u32)
    }
}
