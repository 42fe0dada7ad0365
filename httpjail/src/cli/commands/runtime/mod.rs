//! Containers that are born held: the OCI runtime `httpjail-runc`, the hook by which it holds a container, and what names them to
//! engines.

mod check;
mod exec;
pub(crate) mod hook;
pub(crate) mod install;
mod pod;
pub(super) mod root;
pub(crate) mod shim;
mod state;
mod trust;
