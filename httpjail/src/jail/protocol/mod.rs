//! What the processes of a jail say to each other, and how it travels.

pub(crate) mod approver;
pub(crate) mod channel;
pub(crate) mod command;
pub(crate) mod fd_passing;
pub(crate) mod forwarder;
pub(crate) mod init;
pub(crate) mod policy_file;
pub(crate) mod proxy;
