//! Joins DATA frames of one HTTP/2 stream that arrive together, also where other streams' DATA lies between them.
//!
//! h2 keeps only so many unread frames below 256 bytes and then ends the connection with all of its streams; a server
//! of many small events and one slow client are enough to get there. Each frame also costs h2 memory that it does not
//! give back before the connection ends. With the frames joined, a window holds as much as it says. The payload's
//! bytes, their order in the stream, its end and what flow control counts stay as they were (RFC 9113 section 6.1). All
//! other frames pass unchanged and in their place. Only frames of one read are joined, so nothing waits.

use crate::proxy::io::delegate::delegate_write;
use crate::proxy::io::flush_counter::FlushCounter;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame's length, type, flags and stream (RFC 9113 section 4.1), in bytes.
const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
/// The smallest SETTINGS_MAX_FRAME_SIZE there is, and the one that the proxy announces.
const FRAME_MAX: usize = 16_384;
/// What a client of HTTP/2 says first (RFC 9113 section 3.4), in bytes.
const PREFACE: usize = 24;
/// Among so many streams that send in turns frames are joined.
const AT_ONCE: usize = 16;

/// `stream`, its small frames joined as they are read.
pub(crate) struct CoalescingIo<S> {
    stream: S,
    frames: Frames,
    /// Told of what has gone to a client.
    flushes: Option<Arc<FlushCounter>>,
}

impl<S> CoalescingIo<S> {
    /// What a client says, the preface first; `flushes` are those of what it is told.
    pub(crate) fn from_client(stream: S, flushes: Arc<FlushCounter>) -> CoalescingIo<S> {
        let mut joined = CoalescingIo::from_server(stream);
        joined.frames.left = PREFACE;
        joined.flushes = Some(flushes);
        joined
    }

    /// What a server says.
    pub(crate) fn from_server(stream: S) -> CoalescingIo<S> {
        let frames = Frames {
            head: [0; HEAD],
            known: 0,
            left: 0,
        };
        CoalescingIo {
            stream,
            frames,
            flushes: None,
        }
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

/// What lies between two places of what was read.
struct Piece {
    start: usize,
    end: usize,
    /// A frame that is here as a whole and may be joined with others.
    joinable: bool,
}

impl Frames {
    /// Joins frames of `bytes`, which follow those of the call before; how many bytes that leaves.
    fn join(&mut self, bytes: &mut [u8]) -> usize {
        let mut pieces = self.pieces(bytes);
        let mut written = Vec::new();
        let mut rest = pieces.as_mut_slice();
        while let Some(first) = rest.first() {
            let joinable = first.joinable;
            let run = rest.iter().take_while(|piece| piece.joinable == joinable).count();
            let (run, after) = rest.split_at_mut(run);
            if joinable && run.len() > 1 {
                if written.is_empty() {
                    // The first that changes anything.
                    written.extend_from_slice(&bytes[..run[0].start]);
                }
                group(bytes, run, &mut written);
            } else if !written.is_empty() {
                run.iter()
                    .for_each(|piece| written.extend_from_slice(&bytes[piece.start..piece.end]));
            }
            rest = after;
        }
        if written.is_empty() {
            return bytes.len();
        }
        bytes[..written.len()].copy_from_slice(&written);
        written.len()
    }

    /// The frames in `bytes`, and what else there is: the rest of the preface, ends and beginnings of frames.
    fn pieces(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut read = 0;
        while read < bytes.len() {
            let (start, whole) = (read, self.left == 0 && self.known == 0);
            if self.left == 0 {
                let count = (HEAD - self.known).min(bytes.len() - read);
                self.head[self.known..self.known + count].copy_from_slice(&bytes[read..read + count]);
                self.known += count;
                read += count;
                if self.known == HEAD {
                    self.known = 0;
                    self.left = length(&self.head);
                }
            }
            let count = self.left.min(bytes.len() - read);
            self.left -= count;
            read += count;
            pieces.push(Piece {
                start,
                end: read,
                joinable: whole && self.left == 0 && read - start > HEAD - 1 && may_join(&self.head),
            });
        }
        pieces
    }
}

/// Writes a run of DATA frames, those of one stream joined. Between those of one stream only such of other streams lie,
/// which do not mind in what order they come.
fn group(bytes: &[u8], run: &[Piece], written: &mut Vec<u8>) {
    struct Group {
        head: [u8; HEAD],
        length: usize,
        pieces: Vec<usize>,
    }
    let mut groups: Vec<Group> = Vec::new();
    for (at, piece) in run.iter().enumerate() {
        let head = &bytes[piece.start..piece.start + HEAD];
        let added = length(head);
        // The latest of that stream, if it is not long ago.
        let mut latest = groups.iter_mut().rev().take(AT_ONCE);
        match latest.find(|group| group.head[5..] == head[5..]) {
            Some(group) if group.head[4] & END_STREAM == 0 && group.length + added <= FRAME_MAX => {
                group.head[4] = head[4];
                group.length += added;
                group.pieces.push(at);
            }
            _ => {
                let mut own = [0; HEAD];
                own.copy_from_slice(head);
                groups.push(Group {
                    head: own,
                    length: added,
                    pieces: vec![at],
                });
            }
        }
    }
    for group in groups {
        let [.., high, middle, low] = group.length.to_be_bytes();
        written.extend_from_slice(&[high, middle, low]);
        written.extend_from_slice(&group.head[3..]);
        for at in group.pieces {
            written.extend_from_slice(&bytes[run[at].start + HEAD..run[at].end]);
        }
    }
}

fn length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// Returns whether it is DATA of a stream, without padding or a flag that we do not know. What is empty and ends
/// nothing stays for h2 to count: only a flood is made of it.
fn may_join(head: &[u8; HEAD]) -> bool {
    head[3] == DATA && head[4] & !END_STREAM == 0 && head[5..] != [0; 4] && (length(head) > 0 || head[4] == END_STREAM)
}

impl<S: AsyncRead + Unpin> AsyncRead for CoalescingIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let kept = this.frames.join(&mut buf.filled_mut()[before..]);
        buf.set_filled(before + kept);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CoalescingIo<S> {
    delegate_write!(stream: write);
    delegate_write!(stream: shutdown);

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if let Some(flushes) = &self.flushes {
            flushes.add();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
