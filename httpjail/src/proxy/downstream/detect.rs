//! Detects what a connection speaks by its first bytes, never by its port.
//!
//! [`sniff`] is pure: it looks at the bytes so far and answers, or asks for more. [`read_first_bytes`] feeds it from a socket
//! under a size limit; the caller holds the clock. Nothing is dialed before there is an answer. Bytes that can become neither
//! HTTP nor TLS are refused at once, because their client may be waiting for an answer.

use crate::audit::record::NOT_HTTP;
use crate::proxy::http1::token::is_token;
use crate::proxy::timeout::Late;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DetectedProtocol {
    /// Too few bytes to tell.
    Incomplete,
    /// A TLS record that carries a handshake.
    Tls,
    /// An HTTP/1 request line.
    Http1,
    /// The HTTP/2 connection preface, in cleartext (RFC 9113 section 3.3).
    Http2,
    /// Anything else: SSH, SMTP, Redis, an SSLv2 hello, ... With the reason for the log.
    Other(&'static str),
    /// It took too long.
    Late(Late),
    /// The client left, or its connection failed, before it had sent more than the beginning of a TLS record.
    Gone,
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method name that is taken for one (the registered ones end at 17 bytes: UPDATEREDIRECTREF).
const METHOD_MAX: usize = 32;

/// The methods of RFC 9110 section 9 and RFC 5789.
const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// A request line that is longer than this is left to the HTTP parser, which has the real limit.
const LINE_MAX: usize = 2048;

const NOT_HTTP_SSH: &str = "not http: ssh";
const NOT_HTTP_GIT: &str = "not http: git";

/// Tells what `bytes`, the first that came, are.
pub(crate) fn sniff(bytes: &[u8]) -> DetectedProtocol {
    match bytes {
        [] => DetectedProtocol::Incomplete,
        // ContentType handshake(22), legacy version 3.x (RFC 8446 section 5.1). An SSLv2 hello starts otherwise.
        [0x16] | [0x16, 3] => DetectedProtocol::Incomplete,
        [0x16, 3, ..] => DetectedProtocol::Tls,
        _ if bytes.starts_with(H2_PREFACE) => DetectedProtocol::Http2,
        _ if H2_PREFACE.starts_with(bytes) => DetectedProtocol::Incomplete,
        _ if bytes.starts_with(b"SSH-") => DetectedProtocol::Other(NOT_HTTP_SSH),
        _ if is_git(bytes) => DetectedProtocol::Other(NOT_HTTP_GIT),
        _ => sniff_request_line(bytes),
    }
}

/// Git's own protocol: a length of four hexadecimal digits, then what is asked for (gitprotocol-pack(5)).
fn is_git(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_at_checked(4) else {
        return false;
    };
    length.iter().all(u8::is_ascii_hexdigit) && rest.starts_with(b"git-")
}

/// `METHOD SP target SP HTTP/1.x`: the whole line is asked for, since an SSH banner also is a token and a space.
fn sniff_request_line(bytes: &[u8]) -> DetectedProtocol {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    if method > METHOD_MAX {
        return DetectedProtocol::Other(NOT_HTTP);
    }
    match bytes.get(method) {
        None => return DetectedProtocol::Incomplete,
        // A number is the status that a server of another protocol greets with (`220 `), and no method that is in use.
        Some(b' ') if !bytes[..method].iter().all(u8::is_ascii_digit) => {}
        Some(_) => return DetectedProtocol::Other(NOT_HTTP),
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    // Other protocols end with it what they say, and send no line end to wait for. After a method of HTTP it is refused
    // in words.
    if bytes[..end.unwrap_or(bytes.len())].contains(&0) && !METHODS.contains(&&bytes[..method]) {
        return DetectedProtocol::Other(NOT_HTTP);
    }
    match end {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            let version = line.len().checked_sub(9).map(|at| &line[at..]);
            match version {
                Some([b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', _]) => DetectedProtocol::Http1,
                _ => DetectedProtocol::Other(NOT_HTTP),
            }
        }
        None if bytes.len() >= LINE_MAX => DetectedProtocol::Http1,
        None => DetectedProtocol::Incomplete,
    }
}

/// Reads on until the first bytes tell what they are; `bytes` holds those that came. Bounded: `LINE_MAX` bytes and one
/// read.
pub(crate) async fn read_first_bytes<R: AsyncRead + Unpin>(from: &mut R, bytes: &mut Vec<u8>) -> DetectedProtocol {
    loop {
        match sniff(bytes) {
            DetectedProtocol::Incomplete => {}
            detected => return detected,
        }
        match from.read_buf(bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) if bytes.is_empty() || bytes.starts_with(&[0x16]) => return DetectedProtocol::Gone,
            Ok(0) | Err(_) => return DetectedProtocol::Other(NOT_HTTP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: DetectedProtocol) {
        assert_eq!(sniff(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        if matches!(
            expected,
            DetectedProtocol::Tls | DetectedProtocol::Http1 | DetectedProtocol::Http2
        ) {
            // No prefix of a good opening may be taken for something else: a client may send byte by byte.
            for end in 0..bytes.len() {
                let early = sniff(&bytes[..end]);
                assert!(
                    early == DetectedProtocol::Incomplete || early == expected,
                    "{early:?} at {end}"
                );
            }
        }
    }

    // Proves: H19.
    #[test]
    fn openings() {
        check(b"", DetectedProtocol::Incomplete);
        check(b"\x16\x03\x01\x02\x00\x01", DetectedProtocol::Tls);
        check(b"\x16\x02\x00", DetectedProtocol::Other(NOT_HTTP));
        check(b"\x80\x2e\x01\x00\x02", DetectedProtocol::Other(NOT_HTTP)); // SSLv2
        check(b"GET / HTTP/1.1\r\n", DetectedProtocol::Http1);
        check(b"GET / HTTP/1.0\n", DetectedProtocol::Http1);
        check(b"UPDATEREDIRECTREF /x HTTP/1.1\r\n", DetectedProtocol::Http1);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", DetectedProtocol::Http2);
        check(b"PRI * HTTP/2.0\r\n\r\nXX", DetectedProtocol::Other(NOT_HTTP));
        check(b"GET / HTTP/2.0\r\n", DetectedProtocol::Other(NOT_HTTP));
        check(b"GET /\r\n", DetectedProtocol::Other(NOT_HTTP)); // HTTP/0.9
        check(b"SSH-2.0-OpenSSH_9.2 Debian\r\n", DetectedProtocol::Other(NOT_HTTP_SSH));
        check(b"SSH-", DetectedProtocol::Other(NOT_HTTP_SSH));
        check(b"EHLO mail.test\r\n", DetectedProtocol::Other(NOT_HTTP));
        check(b"SET key value\r\n", DetectedProtocol::Other(NOT_HTTP));
        check(b"*1\r\n$4\r\nPING\r\n", DetectedProtocol::Other(NOT_HTTP));
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", DetectedProtocol::Other(NOT_HTTP)); // PostgreSQL's SSLRequest
        // What comes whole and cannot be a line, and what only a server says.
        let git = b"003egit-upload-pack /user/repo.git\0host=git.test\0";
        check(git, DetectedProtocol::Other(NOT_HTTP_GIT));
        check(b"003egit-upload-pack", DetectedProtocol::Other(NOT_HTTP_GIT));
        check(b"00", DetectedProtocol::Incomplete);
        check(b"PLAIN a\0b", DetectedProtocol::Other(NOT_HTTP));
        check(b"GET /a\r", DetectedProtocol::Incomplete);
        check(b"GET /a\x01 HTTP/1.1\r\n", DetectedProtocol::Http1); // answered in words
        check(b"GET /a\0 HTTP/1.1\r\n", DetectedProtocol::Http1);
        check(b"GOT /a\0 HTTP/1.1\r\n", DetectedProtocol::Other(NOT_HTTP));
        check(b"220 mail.test ESMTP", DetectedProtocol::Other(NOT_HTTP));
        check(b"220-mail.test", DetectedProtocol::Incomplete);
        check(b"\xff\xfb\x18", DetectedProtocol::Other(NOT_HTTP)); // telnet
        check(&[b'A'; 33], DetectedProtocol::Other(NOT_HTTP));
        check(&[b"GET /", &[b'a'; LINE_MAX][..]].concat(), DetectedProtocol::Http1);
    }
}
