//! Unix sockets by identity: a jailed process reaches a listener of its own jail, or one that `--allow-socket` names,
//! under whatever name it asks for it.
//!
//! The mounts of [`super::sandbox::sockets`] cover names, and a name can be renamed, linked, mounted elsewhere, or
//! appear later. So something in force while the command runs checks the socket that a name leads to. Which way works
//! depends on the kernel and on who starts the jail; one is chosen, and proved by a self-test, before the command
//! starts.

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
