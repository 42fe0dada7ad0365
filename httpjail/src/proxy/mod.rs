//! From an accepted connection to a verdict on the wire.
//!
//! A connection: its flow is taken once, its first bytes tell what it speaks, TLS is terminated with a leaf for the name it
//! asked for, and hyper serves it with one `ProxyService`. A request: it becomes a canonical [`crate::policy::Target`], which is
//! judged and then either refused in words or written anew to an upstream whose addresses and certificate were checked.
//! Nothing is dialled before a request was allowed, and no error on the way lets one through.

mod auth;
mod authority;
mod config;
mod context;
mod downstream;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http1;
mod io;
mod limits;
#[cfg(target_os = "linux")]
mod netlink;
mod overload;
mod protocol;
mod refusal;
mod server;
mod service;
mod tasks;
#[cfg(test)]
mod tests;
mod timeout;
mod upstream;

pub(crate) use auth::proxy_auth::ProxyAuth;
pub(crate) use auth::token::Token;
pub(crate) use config::{Clients, Config, Mode};
pub(crate) use limits::Limits;
pub(crate) use server::Proxy;
pub(crate) use upstream::address::{Class, Foreseen, foresee};
pub(crate) use upstream::network::HostNetwork;
pub(crate) use upstream::proxy_env::ProxyConfig;
