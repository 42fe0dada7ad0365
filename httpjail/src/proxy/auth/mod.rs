//! Who may use the proxy.

pub(crate) mod proxy_auth;
pub(crate) mod socket_owner;
pub(crate) mod token;
