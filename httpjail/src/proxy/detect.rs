//! What a connection speaks, told by its first bytes and never by its port.
//!
//! [`sniff`] is pure: it looks at what has come so far and answers, or asks for more. [`read_opening`] feeds it from a
//! socket under a size limit; the caller holds the clock. Nothing is dialled before this has answered.

use super::framing::is_token;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Too few bytes to tell.
    Incomplete,
    /// A TLS record that carries a handshake.
    Tls,
    /// An HTTP/1 request line.
    Http1,
    /// The HTTP/2 connection preface, in cleartext (RFC 9113 section 3.3).
    Http2,
    /// Anything else: SSH, SMTP, Redis, an SSLv2 hello, ...
    Other,
    /// The connection failed.
    Broken,
    /// It took too long.
    Late,
    /// The client closed before it had said enough; nothing at all, if `silent`.
    Closed {
        /// Not one byte came.
        silent: bool,
    },
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method name that is taken for one (the registered ones end at 17 bytes: UPDATEREDIRECTREF).
const METHOD_MAX: usize = 32;

/// A request line that is longer than this is left to the HTTP parser, which has the real limit.
const LINE_MAX: usize = 2048;

/// Tells what `bytes`, the first that came, are.
pub(super) fn sniff(bytes: &[u8]) -> Opening {
    match bytes {
        [] => Opening::Incomplete,
        // ContentType handshake(22), legacy version 3.x (RFC 8446 section 5.1). An SSLv2 hello starts otherwise.
        [0x16] | [0x16, 3] => Opening::Incomplete,
        [0x16, 3, ..] => Opening::Tls,
        _ if bytes.starts_with(H2_PREFACE) => Opening::Http2,
        _ if H2_PREFACE.starts_with(bytes) => Opening::Incomplete,
        _ => sniff_request_line(bytes),
    }
}

/// `METHOD SP target SP HTTP/1.x`: the whole line is asked for, since an SSH banner also is a token and a space.
fn sniff_request_line(bytes: &[u8]) -> Opening {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    if method > METHOD_MAX {
        return Opening::Other;
    }
    match bytes.get(method) {
        None => return Opening::Incomplete,
        Some(b' ') if method > 0 => {}
        Some(_) => return Opening::Other,
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            let version = line.len().checked_sub(9).map(|at| &line[at..]);
            match version {
                Some([b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', _]) => Opening::Http1,
                _ => Opening::Other,
            }
        }
        None if bytes.len() >= LINE_MAX => Opening::Http1,
        None => Opening::Incomplete,
    }
}

/// Reads until the first bytes tell what they are; hands back all that was read. Bounded: `LINE_MAX` bytes and one read.
pub(super) async fn read_opening<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<(Opening, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(2 * LINE_MAX);
    loop {
        match sniff(&bytes) {
            Opening::Incomplete => {}
            opening => return Ok((opening, bytes)),
        }
        if from.read_buf(&mut bytes).await? == 0 {
            let silent = bytes.is_empty();
            return Ok((Opening::Closed { silent }, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Opening) {
        assert_eq!(sniff(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        if matches!(expected, Opening::Tls | Opening::Http1 | Opening::Http2) {
            // No prefix of a good opening may be taken for something else: a client may send byte by byte.
            for end in 0..bytes.len() {
                let early = sniff(&bytes[..end]);
                assert!(early == Opening::Incomplete || early == expected, "{early:?} at {end}");
            }
        }
    }

    // Proves: H19.
    #[test]
    fn openings() {
        check(b"", Opening::Incomplete);
        check(b"\x16\x03\x01\x02\x00\x01", Opening::Tls);
        check(b"\x16\x02\x00", Opening::Other);
        check(b"\x80\x2e\x01\x00\x02", Opening::Other); // SSLv2
        check(b"GET / HTTP/1.1\r\n", Opening::Http1);
        check(b"GET / HTTP/1.0\n", Opening::Http1);
        check(b"UPDATEREDIRECTREF /x HTTP/1.1\r\n", Opening::Http1);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Opening::Http2);
        check(b"PRI * HTTP/2.0\r\n\r\nXX", Opening::Other);
        check(b"GET / HTTP/2.0\r\n", Opening::Other);
        check(b"GET /\r\n", Opening::Other); // HTTP/0.9
        check(b"SSH-2.0-OpenSSH_9.2 Debian\r\n", Opening::Other);
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Opening::Other);
        check(b"EHLO mail.test\r\n", Opening::Other);
        check(b"SET key value\r\n", Opening::Other);
        check(b"*1\r\n$4\r\nPING\r\n", Opening::Other);
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", Opening::Other); // PostgreSQL's SSLRequest
        check(&[b'A'; 33], Opening::Other);
        check(&[b"GET /", &[b'a'; LINE_MAX][..]].concat(), Opening::Http1);
    }
}
