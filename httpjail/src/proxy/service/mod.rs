//! One request: its target, its verdict, its answer and its record.

pub(crate) mod authorize;
pub(crate) mod client;
pub(crate) mod drain;
pub(crate) mod forward;
pub(crate) mod outgoing;
pub(crate) mod proxy_service;
pub(crate) mod render;
pub(crate) mod request_record;
pub(crate) mod response_body;
pub(crate) mod target;
pub(crate) mod websocket;
