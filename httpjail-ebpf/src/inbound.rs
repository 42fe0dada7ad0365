//! Connections from outside that the policy lets in (`inbound:`): TCP, to a port of the jail, from a network of peers.
//!
//! The programs keep no state for it. A segment passes if it is between such a port and such a peer, and if no socket of the jail
//! begins a connection with it. The connect programs redirect whoever would, and a socket has no other way to become the near
//! end of a connection to a peer than to accept one.

use crate::{
    endpoint::Endpoint,
    halves::to_words,
    lookup::proxy_listens,
    maps::INBOUND,
};
use aya_ebpf::{maps::lpm_trie::Key, programs::SkBuffContext};
use httpjail_common::{Direction, INBOUND_KEY_BITS, INBOUND_V4, JailConfig, inbound_key};

/// Does the policy let this segment pass? `opening`: it begins a connection.
#[inline(always)]
pub fn is_let_in(
    ctx: &SkBuffContext,
    config: &JailConfig,
    near: Endpoint,
    far: Endpoint,
    direction: Direction,
    opening: bool,
) -> bool {
    if opening && direction == Direction::Egress {
        return false;
    }
    let family = far.is_v4.choose(INBOUND_V4.into(), 0) as u32;
    let key = inbound_key(INBOUND_KEY_BITS, near.port, family, to_words(far.address));
    // SAFETY: a packed number and an array of five: the same 24 bytes, aligned for less.
    let key: &Key<[u32; 5]> = unsafe { &*(&raw const key).cast() };
    if INBOUND.get(key).is_none() {
        return false;
    }
    if !opening || config.own_mark == 0 {
        return true;
    }
    // Nobody comes in any more when httpjail is gone. What comes after a SYN that passed is its connection's.
    // SAFETY: a cgroup_skb program's own context.
    unsafe { proxy_listens(ctx.skb.skb.cast(), config) }
}
