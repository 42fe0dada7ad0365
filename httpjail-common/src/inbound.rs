//! The key of the connections from outside that are let in.

/// How many bits of a whole key are compared: a port and an address.
pub const INBOUND_KEY_BITS: u32 = 32 + 128;

/// The most entries that a policy may have.
pub const INBOUND_MAX: u32 = 1024;

/// Set beside the port for IPv4, so that no IPv6 network holds IPv4 addresses.
pub const INBOUND_V4: u32 = 1 << 16;

/// Returns the key of a port of the jail and the first bits of a peer's address ([`crate::Address::words`]): a prefix length, and
/// what has it, as the kernel's longest-prefix trie wants it (kernel/bpf/lpm_trie.c). `bits` counts the 32 of the port and the
/// family too.
#[inline(always)]
pub const fn inbound_key(bits: u32, port: u16, family: u32, peer: [u32; 4]) -> [u32; 6] {
    [bits, port as u32 | family, peer[0], peer[1], peer[2], peer[3]]
}
