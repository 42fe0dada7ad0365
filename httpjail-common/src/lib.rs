//! The data that crosses the kernel border: httpjail's BPF programs and its user side both read and write it.
//!
//! Every type is `repr(C)` without implicit padding (an assertion beside each checks its size), because the kernel hashes map
//! keys byte by byte, and padding bytes could differ between the two sides. Addresses are big-endian byte arrays of one form
//! ([`Address`]); ports and everything else are in host order. The crate is `no_std` for the BPF target; the feature `user`
//! adds aya's `Pod` and conversions to std types.
#![cfg_attr(not(feature = "user"), no_std)]

mod addr;
mod config;
mod event;
mod flow;
mod inbound;

pub use addr::Address;
pub use config::{JailConfig, Ports};
pub use event::{Direction, Event, Reason, Stat};
pub use flow::{Comm, FlowKey, FlowValue};
pub use inbound::{INBOUND_KEY_BITS, INBOUND_MAX, INBOUND_V4, inbound_key};

/// The map with one [`JailConfig`] for each attached cgroup (`BPF_MAP_TYPE_CGROUP_STORAGE`, keyed by cgroup id).
pub const MAP_CONFIG: &str = "CONFIG";
/// The map from [`FlowKey`] to [`FlowValue`].
pub const MAP_FLOWS: &str = "FLOWS";
/// The map from [`FlowKey`] to [`FlowValue`] for datagrams that were redirected to the resolver, if the jail wants it
/// ([`JailConfig::dns_open`]).
pub const MAP_ASKED: &str = "ASKED";
/// The trie of connections from outside that are let in, keyed by [`inbound_key`].
pub const MAP_INBOUND: &str = "INBOUND";
/// The ring buffer of [`Event`]s.
pub const MAP_EVENTS: &str = "EVENTS";
/// The array of counters, indexed by [`Stat`].
pub const MAP_STATS: &str = "STATS";
