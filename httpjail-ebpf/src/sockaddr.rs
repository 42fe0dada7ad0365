//! Reading and writing the address of a socket call (`struct bpf_sock_addr`), as the verifier wants it.
//!
//! `user_port` is two bytes but must be read as a four-byte word; every word is read at a constant index and before any
//! branch, because LLVM otherwise merges the loads into one through a computed pointer, which the verifier refuses
//! ("dereference of modified ctx ptr"). Hence volatile.

use crate::{
    endpoint::Endpoint,
    halves::{from_words, to_words},
};
use aya_ebpf::{bindings::bpf_sock, bindings::bpf_sock_addr, programs::SockAddrContext};
use core::ptr::{read_volatile, write_volatile};

/// The two forms in which a call carries its address.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// `sockaddr_in`.
    V4,
    /// `sockaddr_in6`, v4-mapped addresses included.
    V6,
}

/// The address in the call.
#[inline(always)]
pub fn read(ctx: &SockAddrContext, form: Form) -> Endpoint {
    let raw = ctx.sock_addr;
    // SAFETY: the context is alive while the program runs.
    let port = u16::from_be(unsafe { read_volatile(&raw const (*raw).user_port) } as u16);
    match form {
        // SAFETY: as above.
        Form::V4 => Endpoint::v4(unsafe { read_volatile(&raw const (*raw).user_ip4) }, port),
        Form::V6 => {
            // SAFETY: as above.
            let address = unsafe {
                [
                    read_volatile(&raw const (*raw).user_ip6[0]),
                    read_volatile(&raw const (*raw).user_ip6[1]),
                    read_volatile(&raw const (*raw).user_ip6[2]),
                    read_volatile(&raw const (*raw).user_ip6[3]),
                ]
            };
            Endpoint::new(from_words(address), port)
        }
    }
}

/// Replaces the address in the call.
#[inline(always)]
pub fn write(ctx: &SockAddrContext, form: Form, to: Endpoint) {
    let raw: *mut bpf_sock_addr = ctx.sock_addr;
    // SAFETY: the context is alive while the program runs.
    unsafe {
        match form {
            Form::V4 => write_volatile(&raw mut (*raw).user_ip4, to.v4_address()),
            Form::V6 => {
                let words = to_words(to.address);
                write_volatile(&raw mut (*raw).user_ip6[0], words[0]);
                write_volatile(&raw mut (*raw).user_ip6[1], words[1]);
                write_volatile(&raw mut (*raw).user_ip6[2], words[2]);
                write_volatile(&raw mut (*raw).user_ip6[3], words[3]);
            }
        }
        write_volatile(&raw mut (*raw).user_port, u32::from(to.port.to_be()));
    }
}

/// The socket of the call; the kernel gives these hooks none but full sockets.
#[inline(always)]
pub fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the context is alive while the program runs.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}
