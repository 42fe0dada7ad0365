//! The upstream leg: from a judged host to an answered request.

pub(crate) mod address;
pub(crate) mod answer_clock;
pub(crate) mod client_connections;
pub(crate) mod connection;
pub(crate) mod connection_auth;
pub(crate) mod dial;
pub(crate) mod error;
pub(crate) mod happy_eyeballs;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod informational;
pub(crate) mod kept;
pub(crate) mod key;
pub(crate) mod lease;
pub(crate) mod network;
pub(crate) mod no_proxy;
pub(crate) mod open;
pub(crate) mod pool;
pub(crate) mod proxy_env;
pub(crate) mod request_body;
pub(crate) mod retry;
pub(crate) mod stream_permit;
