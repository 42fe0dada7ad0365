//! The processes of a jail, each with what the supervisor holds of it and what it does itself.

pub(crate) mod approver;
pub(crate) mod command;
pub(crate) mod init;
pub(crate) mod namespaces;
pub(crate) mod port_forwarder;
pub(crate) mod proxy;
pub(crate) mod proxy_user;
pub(crate) mod working_directory;
