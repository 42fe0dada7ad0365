//! A connection whose type does not matter.

use tokio::io::{AsyncRead, AsyncWrite};

/// What bytes can be written to and read from.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open connection, whatever lies below it.
pub(crate) type BoxedIo = Box<dyn Io>;
