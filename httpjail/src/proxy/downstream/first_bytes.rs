//! Reads the first bytes of a connection, within the time that a client has for them.

use crate::proxy::downstream::detect::{self, DetectedProtocol};
use crate::proxy::downstream::silence::unless_silent;
use crate::proxy::io::prefixed::PrefixedIo;
use crate::proxy::service::client::Client;
use crate::proxy::timeout::Phase;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What is read at once of what a client says first: most requests, and most ClientHellos.
pub(crate) const FIRST_READ_BYTES: usize = 4096;

/// The reasons where a client left before it asked for anything.
pub(crate) const LEFT: &str = "the client left";

/// Reads the first bytes, and says what they are; they come again from the stream.
pub(crate) async fn open<S: AsyncRead + Unpin>(client: &Client, mut stream: S) -> (DetectedProtocol, PrefixedIo<S>) {
    let mut bytes = Vec::with_capacity(FIRST_READ_BYTES);
    let detected = match first_byte(client, Phase::FirstByte, &mut stream, &mut bytes).await {
        Some(gone) => gone,
        None => unless_silent(client, Phase::Head, detect::read_first_bytes(&mut stream, &mut bytes))
            .await
            .unwrap_or_else(DetectedProtocol::Late),
    };
    (detected, PrefixedIo::new(bytes, stream))
}

/// Waits until something comes; what does is in `bytes`. What became of the client, if nothing comes.
pub(crate) async fn first_byte<S>(
    client: &Client,
    phase: Phase,
    stream: &mut S,
    bytes: &mut Vec<u8>,
) -> Option<DetectedProtocol>
where
    S: AsyncRead + Unpin,
{
    match unless_silent(client, phase, stream.read_buf(bytes)).await {
        Ok(Ok(1..)) => {
            client.note_bytes();
            None
        }
        Ok(Ok(0) | Err(_)) => Some(DetectedProtocol::Gone),
        Err(late) => Some(DetectedProtocol::Late(late)),
    }
}
