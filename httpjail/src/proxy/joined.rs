//! What stands between a connection and hyper's HTTP/2: DATA frames of one stream that arrive together are joined.
//!
//! Of frames below 256 bytes that nobody has taken yet h2 keeps so many and then ends the connection, with all that others
//! have on it: a server of many small events and one client who reads them slowly are enough. (Each frame costs h2 as much
//! memory, which it does not give back before the connection ends.) Joined, a window holds what it says. The payload's bytes, their order, the end of the stream and what flow
//! control counts stay as they were (RFC 9113 section 6.1); all other frames pass untouched. Only what one read brought
//! is joined: nothing waits, nothing is copied twice, and frames of some size cost one look at their head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame's length, type, flags and stream (RFC 9113 section 4.1), in bytes.
const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
/// The smallest SETTINGS_MAX_FRAME_SIZE there is, and the one that we announce.
const FRAME_MAX: usize = 16_384;
/// What a client of HTTP/2 says first (RFC 9113 section 3.4), in bytes.
const PREFACE: usize = 24;

/// `stream`, its small frames joined as they are read.
pub(super) struct Joined<S> {
    stream: S,
    frames: Frames,
}

impl<S> Joined<S> {
    /// What a client says, the preface first.
    pub(super) fn from_client(stream: S) -> Joined<S> {
        let frames = Frames {
            head: [0; HEAD],
            known: 0,
            left: PREFACE,
        };
        Joined { stream, frames }
    }

    /// What a server says.
    pub(super) fn from_server(stream: S) -> Joined<S> {
        let mut joined = Joined::from_client(stream);
        joined.frames.left = 0;
        joined
    }
}

/// Where in a frame the next byte lies.
struct Frames {
    /// As much of a head as has come.
    head: [u8; HEAD],
    known: usize,
    /// Of a payload, in bytes; of the preface before the first frame.
    left: usize,
}

impl Frames {
    /// Joins frames of `bytes`, which follow those of the call before; how many bytes that leaves.
    fn join(&mut self, bytes: &mut [u8]) -> usize {
        // What has been read, and what of it is kept.
        let (mut read, mut kept) = (0, 0);
        // Where the last frame's head lies that is here as a whole and may grow.
        let mut last = None;
        while read < bytes.len() {
            let wanted = if self.left > 0 { self.left } else { HEAD - self.known };
            let count = wanted.min(bytes.len() - read);
            if read > kept {
                bytes.copy_within(read..read + count, kept);
            }
            (read, kept) = (read + count, kept + count);
            if self.left > 0 {
                self.left -= count;
                continue;
            }
            self.head[self.known..self.known + count].copy_from_slice(&bytes[kept - count..kept]);
            self.known += count;
            if self.known < HEAD {
                break;
            }
            self.known = 0;
            self.left = length(&self.head);
            let whole = count == HEAD && bytes.len() - read >= self.left && may_join(&self.head);
            let before: Option<usize> = last.take();
            if !whole {
                continue;
            }
            last = Some(kept - HEAD);
            let Some(before) = before else { continue };
            let sum = length(&bytes[before..]) + self.left;
            // It is the same stream's, the one before was not its end, and the two are not too much for one.
            if bytes[before + 5..before + HEAD] == self.head[5..] && bytes[before + 4] == 0 && sum <= FRAME_MAX {
                kept -= HEAD;
                let [.., high, middle, low] = sum.to_be_bytes();
                bytes[before..before + 3].copy_from_slice(&[high, middle, low]);
                bytes[before + 4] = self.head[4];
                last = Some(before);
            }
        }
        kept
    }
}

fn length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// Whether it is DATA of a stream, without padding or a flag that we do not know. What is empty and ends nothing stays for
/// h2 to count: only a flood is made of it.
fn may_join(head: &[u8; HEAD]) -> bool {
    head[3] == DATA && head[4] & !END_STREAM == 0 && head[5..] != [0; 4] && (length(head) > 0 || head[4] == END_STREAM)
}

impl<S: AsyncRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let kept = this.frames.join(&mut buf.filled_mut()[before..]);
        buf.set_filled(before + kept);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
