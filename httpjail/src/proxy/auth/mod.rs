//! Who may use the proxy.

pub(crate) mod socket_owner;
