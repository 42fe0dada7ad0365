//! The client leg: from an accepted socket to requests.

pub(crate) mod connection;
pub(crate) mod detect;
pub(crate) mod first_bytes;
pub(crate) mod forward_proxy;
pub(crate) mod framing_io;
pub(crate) mod head_clock;
pub(crate) mod http;
pub(crate) mod http1_gate;
pub(crate) mod informational_io;
pub(crate) mod no_timer;
pub(crate) mod passthrough;
pub(crate) mod silence;
pub(crate) mod tls;
