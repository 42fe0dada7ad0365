//! The rules of HTTP/1 and of header fields. Nothing in here owns a connection.

pub(crate) mod exchange;
pub(crate) mod framing;
pub(crate) mod headers;
pub(crate) mod informational;
pub(crate) mod request_target;
pub(crate) mod token;
pub(crate) mod unparsed;
