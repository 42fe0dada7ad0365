//! The messages between the proxy's process and the port forwarder.

use serde::{Deserialize, Serialize};

/// Asks for a TCP socket of the jail's network.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SocketRequest {
    pub ipv6: bool,
}

/// The socket comes with this message, or this is why there is none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SocketReply(pub Result<(), String>);
