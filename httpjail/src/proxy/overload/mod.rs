//! What the proxy does when connections or memory get scarce.
//!
//! Everything a jail sends grows something here, so each thing that grows has a bound, and each bound has a rule for
//! who makes room.

pub(crate) mod clients;
pub(crate) mod h2_windows;
pub(crate) mod memory;
pub(crate) mod pace;
