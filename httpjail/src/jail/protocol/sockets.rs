//! The answers of the process that makes sockets. A question is the [`crate::net::SocketKind`] that is wanted.

use serde::{Deserialize, Serialize};

/// The socket comes with this message, or this is why there is none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SocketReply(pub Result<(), String>);
