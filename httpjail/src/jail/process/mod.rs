//! The processes of a jail. Each file has the supervisor's handle of a process, and what the process itself does.

pub(crate) mod apart;
pub(crate) mod approver;
pub(crate) mod command;
pub(crate) mod errand;
pub(crate) mod init;
pub(crate) mod namespaces;
pub(crate) mod proxy;
pub(crate) mod proxy_user;
pub(crate) mod socket_maker;
pub(crate) mod surroundings;
pub(crate) mod working_directory;
