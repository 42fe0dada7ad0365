//! Who may use the proxy: everyone, clients with the token, or this process's own user.

pub(crate) mod proxy_auth;
pub(crate) mod socket_owner;
pub(crate) mod token;
