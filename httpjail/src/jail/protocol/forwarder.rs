//! What the proxy's process and the port forwarder say to each other.

use serde::{Deserialize, Serialize};

/// A TCP socket, please.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub ipv6: bool,
}

/// It comes along, or this is why not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made(pub Result<(), String>);
