//! What confines the command, whichever way its traffic is steered: mounts, masked sockets, capabilities, system calls,
//! and the network namespace.

pub(crate) mod filter;
pub(crate) mod mountinfo;
pub(crate) mod mounts;
pub(crate) mod nested;
pub(crate) mod network;
pub(crate) mod rights;
pub(crate) mod run_dir;
pub(crate) mod sockets;
pub(crate) mod stdio;
pub(crate) mod terminal;
pub(crate) mod user_identity;
