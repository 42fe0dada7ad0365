//! Addresses with ports, compared without branches ([`crate::bits`]).

use crate::{
    bits::Bit,
    halves::{Halves, from_address},
};
use core::{mem::transmute, ptr::read_volatile};
use httpjail_common::{JailConfig, Ports};

/// The second halves of addresses whose first half is 0.
const UNSPECIFIED_V4: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const LOOPBACK_V4: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 127, 0, 0, 0]);
const LOCALHOST_V4: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 127, 0, 0, 1]);
const LOCALHOST_V6: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]);
/// Of such a half: the bytes that say that the address is IPv4, those that say 127/8, and the IPv4 address.
const FAMILY: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
const NETWORK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
const HOST: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);

/// An address with a port in host order.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// In network order, v4-mapped for IPv4.
    pub address: Halves,
    pub port: u16,
    /// Whether the address is IPv4. LLVM knows it in the programs for IPv4 alone, and leaves out the rest there.
    pub is_v4: Bit,
}

impl Endpoint {
    /// `::`, port 0: where nothing is known.
    pub const NONE: Endpoint = Endpoint {
        address: [0; 2],
        port: 0,
        is_v4: Bit::FALSE,
    };

    /// An IPv6 address, or an IPv4 one as IPv6 writes it.
    #[inline(always)]
    pub fn new(address: Halves, port: u16) -> Self {
        let is_v4 = Bit::is_zero(address[0] | ((address[1] & FAMILY) ^ UNSPECIFIED_V4));
        Endpoint { address, port, is_v4 }
    }

    #[inline(always)]
    pub fn v4(address: u32, port: u16) -> Self {
        Endpoint {
            address: [0, UNSPECIFIED_V4 | u64::from(address) << 32],
            port,
            is_v4: Bit::TRUE,
        }
    }

    /// One of two addresses, by the family.
    #[inline(always)]
    pub fn of_family(is_v4: Bit, v4: u32, v6: Halves, port: u16) -> Self {
        let v4 = Endpoint::v4(v4, port);
        Endpoint {
            address: choose(is_v4, v4.address, v6),
            port,
            is_v4,
        }
    }

    /// The last four bytes: the address, if it is IPv4.
    #[inline(always)]
    pub fn v4_address(&self) -> u32 {
        (self.address[1] >> 32) as u32
    }

    /// The localhost address of the same family, with another port.
    #[inline(always)]
    pub fn localhost(self, port: u16) -> Self {
        Endpoint {
            address: [0, self.is_v4.choose(LOCALHOST_V4, LOCALHOST_V6)],
            port,
            ..self
        }
    }

    /// The same, but localhost where the address is left open: 0.0.0.0 or `::`, which the kernel takes for "this host".
    #[inline(always)]
    pub fn or_localhost(self) -> Self {
        let open = self.is([0, 0]) | self.is([0, UNSPECIFIED_V4]);
        Endpoint {
            address: choose(open, self.localhost(0).address, self.address),
            ..self
        }
    }

    /// 127.0.0.1 or `::1`, where httpjail's own sockets listen.
    #[inline(always)]
    pub fn is_localhost(&self) -> Bit {
        self.is([0, LOCALHOST_V4]) | self.is([0, LOCALHOST_V6])
    }

    #[inline(always)]
    pub fn has_port(&self, port: u16) -> Bit {
        Bit::is_zero((self.port ^ port).into())
    }

    /// An address of the jail itself: loopback (127/8, `::1`) or the extra one on `lo`. A listener on a wildcard address would
    /// answer for every address that is routed here; only these count.
    #[inline(always)]
    pub fn is_local(&self, config: &JailConfig) -> Bit {
        let loopback = Bit::is_zero(self.address[0] | ((self.address[1] & NETWORK) ^ LOOPBACK_V4));
        let own = self.is(from_address(config.own_v4)) | self.is(from_address(config.own_v6));
        // The own address of a family that has none is all zeroes.
        let there = !Bit::is_zero(self.address[1] & HOST);
        loopback | self.is([0, LOCALHOST_V6]) | (own & there)
    }

    #[inline(always)]
    fn is(&self, address: Halves) -> Bit {
        Bit::is_zero((self.address[0] ^ address[0]) | (self.address[1] ^ address[1]))
    }
}

#[inline(always)]
fn choose(which: Bit, yes: Halves, no: Halves) -> Halves {
    [which.choose(yes[0], no[0]), which.choose(yes[1], no[1])]
}

/// The ports of httpjail's own sockets in one family.
#[inline(always)]
pub fn ports(config: &JailConfig, is_v4: Bit) -> Ports {
    // SAFETY: eight plain bytes each. Volatile, or LLVM chooses between the addresses of the two, by a branch.
    unsafe {
        let v4 = read_volatile((&raw const config.v4).cast::<u64>());
        let v6 = read_volatile((&raw const config.v6).cast::<u64>());
        transmute(is_v4.choose(v4, v6))
    }
}
