//! Bytes as a client sends them: HTTP/2 frames, one byte at a time, and nothing at all.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// The beginning of an HTTP/2 connection with these requests, without bodies.
pub(crate) fn frames(requests: &[Vec<(Vec<u8>, Vec<u8>)>]) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        // Three bytes of length; whatever is longer than a frame may be is an error of the reader's to find.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        out.extend(&length[1..]);
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
    };
    frame(SETTINGS, 0, 0, &[]);
    for (stream, fields) in (1..).step_by(2).zip(requests) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal that is not indexed (RFC 7541 section 6.2.2).
            block.push(0);
            for text in [name, value] {
                integer(&mut block, text.len());
                block.extend(text);
            }
        }
        // END_STREAM and END_HEADERS.
        frame(HEADERS, 5, stream, &block);
    }
    out
}

/// A length of seven bits and more (RFC 7541 section 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else {
        return out.extend(u8::try_from(value));
    };
    out.push(127);
    while rest >= 128 {
        out.extend(u8::try_from(rest % 128 + 128));
        rest /= 128;
    }
    out.extend(u8::try_from(rest));
}

/// Gives a byte at a time.
pub(crate) struct Crumbs<'a>(pub(crate) &'a [u8]);

impl AsyncRead for Crumbs<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if let Some((first, rest)) = self.0.split_first() {
            into.put_slice(&[*first]);
            self.0 = rest;
        }
        Poll::Ready(Ok(()))
    }
}

/// Says nothing, and does not end.
pub(crate) struct Silence;

impl AsyncRead for Silence {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}
