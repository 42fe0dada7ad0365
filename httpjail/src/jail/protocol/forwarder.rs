//! What the proxy's process and the port forwarder say to each other.

use serde::{Deserialize, Serialize};

/// A TCP socket, please.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SocketRequest {
    pub ipv6: bool,
}

/// It comes along, or this is why not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SocketReply(pub Result<(), String>);
