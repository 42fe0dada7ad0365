//! Unix sockets by identity: a jailed process reaches a listener of its own jail, or one that `--allow-socket` names, whatever
//! the name by which it asks.
//!
//! The covers of [`super::sandbox::sockets`] are by name, and names are renamed, linked, mounted elsewhere, or appear later. So
//! something in force while the command runs looks at the socket that a name leads to. Which one that is depends on the kernel
//! and on who starts the jail; it is chosen, and proved by a canary, before the command starts.

mod broker;
mod caller;
mod datagrams;
mod handler;
pub(crate) mod program;
mod registry;
pub(crate) mod self_test;
mod shared;
mod socket_guard;
mod unreported;
mod workers;

pub(crate) use broker::ConnectBroker;
pub(crate) use socket_guard::SocketGuard;
