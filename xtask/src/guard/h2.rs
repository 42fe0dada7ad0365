//! As much HTTP/2 as a client and a server need that know what the other will say (RFC 9113).
//!
//! No fields are decoded: the client asks for one thing only, and the server answers with one thing only.

use std::io::{Read, Result, Write};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What begins a frame, and what follows.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// Adds the frame's bytes to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        out.extend(&length[1..]);
        out.extend([self.kind, self.flags]);
        out.extend(self.stream.to_be_bytes());
        out.extend(&self.payload);
    }
}

/// Returns what either side sends first: settings, and leave to send without end.
pub(super) fn opening() -> Vec<u8> {
    let mut out = Vec::new();
    let frame = |kind, payload| Frame {
        kind,
        flags: 0,
        stream: 0,
        payload,
    };
    // SETTINGS_INITIAL_WINDOW_SIZE.
    frame(SETTINGS, [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat()).write(&mut out);
    frame(WINDOW_UPDATE, 0x7fff_0000_u32.to_be_bytes().to_vec()).write(&mut out);
    out
}

/// Returns a block of literal fields (RFC 7541 section 6.2.2), each shorter than 127 bytes.
pub(super) fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in list {
        block.push(0);
        for text in [name, value] {
            block.extend(u8::try_from(text.len()));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Returns the next frame that is about a stream, and answers what comes before it.
pub(super) fn next(stream: &mut (impl Read + Write)) -> Result<Frame> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        let frame = Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(id),
            payload,
        };
        match frame.kind {
            DATA | HEADERS => return Ok(frame),
            SETTINGS | PING if flags & ACK == 0 => {
                let payload = if frame.kind == PING { frame.payload } else { Vec::new() };
                let mut out = Vec::new();
                Frame {
                    flags: ACK,
                    payload,
                    ..frame
                }
                .write(&mut out);
                stream.write_all(&out)?;
                stream.flush()?;
            }
            _ => {}
        }
    }
}
