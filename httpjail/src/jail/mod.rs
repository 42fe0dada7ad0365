//! The jail: a command that has no way out but the proxy.

pub(crate) mod attach;
pub(crate) mod lifecycle;
pub(crate) mod process;
pub(crate) mod process_info;
pub(crate) mod protocol;
pub(crate) mod sandbox;
mod self_test;
pub(crate) mod stale;
pub(crate) mod steering;
pub(crate) mod supervisor;
mod termination;
pub(crate) mod unix;
