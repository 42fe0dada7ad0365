//! Reads a request's head line by line: what it says of the bytes after it, and what makes it malformed.

use crate::proxy::http1::framing::fault::Fault;
use crate::proxy::http1::request_target;
use crate::proxy::http1::token::title_case;
use crate::proxy::http1::token::{is_text, is_token, looks_like};

/// A `Content-Length` has at most this many digits: no overflow anywhere.
const LENGTH_DIGITS_MAX: usize = 18;

/// Another first line of a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spelling {
    /// How long the line is that it stands for. Neither has its end.
    length: usize,
    line: Vec<u8>,
}

impl Spelling {
    /// Changes the head that begins at `start` of `bytes`.
    pub(crate) fn change(self, bytes: &mut Vec<u8>, start: usize) {
        bytes.splice(start..start + self.length, self.line);
    }
}

/// What the bytes after a head are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The next head.
    None,
    /// A body of so many bytes.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// What they are depends on the answer: the head asks for another protocol.
    AwaitUpgrade,
}

/// What a head says of the bytes after it, as far as it has been read.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) started: bool,
    old: bool,
    connect: bool,
    trace: bool,
    pub(crate) fields: usize,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    /// Whether its first line has been rewritten.
    respelt: bool,
}

impl Head {
    /// `METHOD SP target SP HTTP/1.x`, and nothing else (RFC 9112 section 3). Where the target is to be spelled
    /// otherwise, so is the line, and this head begins again with that.
    pub(crate) fn start(&mut self, line: &[u8]) -> Result<Option<Spelling>, Fault> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Fault::StartLine);
        };
        // Some servers fold the case: `policy::Target` asks the same, also of HTTP/2.
        let capital = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(byte);
        if method.is_empty() || !method.iter().all(capital) {
            return Err(Fault::Method);
        }
        let spelled = request_target::respelt(target)?;
        self.old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Fault::Version),
        };
        if let Some(target) = spelled {
            // Once is enough.
            if std::mem::replace(&mut self.respelt, true) {
                return Err(Fault::RequestTarget);
            }
            return Ok(Some(Spelling {
                length: line.len(),
                line: [method, &target, version].join(&b' '),
            }));
        }
        self.connect = method == b"CONNECT";
        self.trace = method == b"TRACE";
        self.started = true;
        Ok(None)
    }

    /// `name: value`. The names that frame and route are written in one way.
    pub(crate) fn field(&mut self, line: &mut [u8], most: usize) -> Result<(), Fault> {
        let (name, value) = field(line)?;
        self.fields += 1;
        if self.fields > most {
            return Err(Fault::TooLarge);
        }
        if looks_like(name, b"content-length") {
            let length = length(value).filter(|_| self.length.is_none());
            self.length = Some(length.ok_or(if self.length.is_some() {
                Fault::TwoLengths
            } else {
                Fault::Length
            })?);
        } else if looks_like(name, b"transfer-encoding") {
            // RFC 9112 section 6.1: not in 1.0. `identity` is gone, and no server wants a coding besides.
            if self.old || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            // Two readers may take two hosts from it (RFC 9112 section 3.2).
            if std::mem::replace(&mut self.host, true) {
                return Err(Fault::TwoHosts);
            }
        } else {
            return Ok(());
        }
        // `Content_Length` is the same to CGI and its heirs.
        if name.contains(&b'_') {
            return Err(Fault::LookAlike);
        }
        // To a server that knows one spelling any other is nothing, and the body the next request.
        let length = name.len();
        title_case(&mut line[..length]);
        Ok(())
    }

    /// What follows the head.
    pub(crate) fn content(&self) -> Result<Content, Fault> {
        let next = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Fault::TwoLengths),
            (None, true) => Content::Chunked,
            (Some(length @ 1..), false) => Content::Length(length),
            (Some(0) | None, false) if self.connect || self.upgrade && !self.old => Content::AwaitUpgrade,
            (Some(0) | None, false) => return Ok(Content::None),
        };
        // RFC 9110 section 9.3.8.
        if self.trace && !matches!(next, Content::AwaitUpgrade) {
            return Err(Fault::TraceBody);
        }
        Ok(next)
    }
}

/// Splits `name: value`; the value without the white space around it.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Fault::Folded);
    }
    // No colon is a token.
    let colon = line.iter().position(|byte| !is_token(*byte)).ok_or(Fault::Field)?;
    if colon == 0 || line[colon] != b':' {
        return Err(Fault::Field);
    }
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !value.iter().all(|byte| is_text(*byte)) {
        return Err(Fault::FieldValue);
    }
    Ok((name, trimmed(value)))
}

/// Only spaces and tabs (RFC 9110 section 5.6.3): `trim_ascii` takes more for white space.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn length(value: &[u8]) -> Option<u64> {
    let plain =
        value.len() <= LENGTH_DIGITS_MAX && value.iter().all(u8::is_ascii_digit) && !matches!(value, [b'0', _, ..]);
    let text = std::str::from_utf8(value).ok().filter(|_| plain)?;
    text.parse().ok()
}
