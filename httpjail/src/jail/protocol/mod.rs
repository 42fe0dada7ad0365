//! The messages between the processes of a jail, and the channel that carries them.
//!
//! This floor imports none of the processes, so that each of them can import it.

pub(crate) mod approver;
pub(crate) mod channel;
pub(crate) mod command;
pub(crate) mod fd_passing;
pub(crate) mod init;
pub(crate) mod policy_file;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod sockets;
pub(crate) mod words;
