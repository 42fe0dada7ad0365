//! The client leg: from an accepted socket to requests.

pub(crate) mod connection;
pub(crate) mod detect;
pub(crate) mod forward_proxy;
pub(crate) mod http1_gate;
pub(crate) mod passthrough;
pub(crate) mod silence;
