//! The proxy: from an accepted connection to an answered request and its record in the log.
//!
//! A connection: its original destination is looked up once, its first bytes tell what it speaks, TLS is terminated with a
//! leaf certificate for the requested name, and hyper serves HTTP with one `ProxyService`. A request: it becomes a canonical
//! [`crate::policy::Target`], which is judged. Then the proxy either refuses it and says why, or writes it again for an
//! upstream whose addresses and certificate it has checked.
//!
//! Architecture invariant: nothing is dialed before a request was allowed, and no error on the way lets one through.
//!
//! This file is the face that the rest of the program sees; nothing in here imports it. Below it a floor imports only
//! these:
//!
//! | floor | may import |
//! |---|---|
//! | `limits`, `netlink`, `protocol`, `refusal`, `tasks`, `timeout`, `workers` | none |
//! | `authority`, `counters` | `refusal` |
//! | `auth` | `netlink` |
//! | `overload` | `limits` |
//! | `io` | `overload` |
//! | `http1` | `authority`, `limits`, `refusal`, `timeout` |
//! | `upstream` | `auth`, `authority`, `http1`, `io`, `limits`, `netlink`, `overload`, `protocol`, `refusal` |
//! | `config` | `auth`, `limits`, `overload`, `upstream` |
//! | `download` | `limits`, `overload`, `upstream` |
//! | `context` | `auth`, `config`, `counters`, `io`, `overload`, `tasks`, `upstream` |
//! | `service` | `authority`, `config`, `context`, `http1`, `io`, `limits`, `overload`, `protocol`, `refusal`, `tasks`, `upstream` |
//! | `downstream` | `auth`, `authority`, `config`, `context`, `http1`, `io`, `limits`, `overload`, `protocol`, `refusal`, `service`, `timeout`, `upstream` |
//! | `server` | `config`, `context`, `downstream`, `overload`, `workers` |
//! | `fuzzing` | `downstream`, `http1`, `limits`, `protocol`, `service`, `upstream` |

mod auth;
mod authority;
mod config;
mod context;
mod counters;
#[cfg(target_os = "linux")]
mod download;
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
mod workers;

pub(crate) use auth::proxy_auth::ProxyAuth;
pub(crate) use auth::token::Token;
pub(crate) use config::{Clients, Config, Mode};
#[cfg(target_os = "linux")]
pub(crate) use download::{Download, Downloader};
pub(crate) use limits::Limits;
#[cfg(target_os = "linux")]
pub(crate) use netlink::is_local_in;
pub(crate) use server::Proxy;
pub(crate) use upstream::address::{Class, Foreseen, foresee};
pub(crate) use upstream::network::{BoxFuture, HostNetwork, Network};
pub(crate) use upstream::proxy_env::ProxyConfig;
pub(crate) use workers::runtime;
