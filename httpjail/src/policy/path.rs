//! The canonical path and query of a URL.
//!
//! A server may decode, split and resolve a path in its own way; the verdict holds only if there is nothing left to
//! resolve. So dot segments are removed here and what is left is forwarded. Spellings that mean a dot segment to some
//! servers only (`..;`, `..%2f`, a double or overlong encoding) are refused, as are NUL and the backslash. The query is
//! the server's own business: it keeps its bytes.

use super::target::TargetError;

/// Layers of encoding that are undone in search of a hidden dot segment. Honest clients nest one or two.
const LAYERS_MAX: usize = 8;

/// Appends the canonical form of `path_and_query` (which must begin with `/` or `?`, or be empty) to `out`.
pub(super) fn canonicalize(path_and_query: &str, out: &mut String) -> Result<(), TargetError> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    if path.is_empty() {
        out.push('/');
    } else {
        push_path(path, out)?;
    }
    if let Some(query) = query {
        out.push('?');
        push_query(query, out)?;
    }
    Ok(())
}

/// RFC 3986 §5.2.4 and §6.2.2: segment by segment, so that what has been undone is seen by the dot-segment test.
fn push_path(path: &str, out: &mut String) -> Result<(), TargetError> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(TargetError::Path("it does not begin with a slash"));
    };
    let start = out.len();
    let mut segments = rest.split('/').peekable();
    while let Some(raw) = segments.next() {
        let mark = out.len();
        out.push('/');
        push_segment(raw, out)?;
        let up = match &out[mark + 1..] {
            "." => false,
            ".." => true,
            segment if hides_dot_segment(segment.as_bytes()) => {
                return Err(TargetError::Path("a segment hides a dot segment"));
            }
            _ => continue,
        };
        out.truncate(mark);
        if up {
            let parent = out[start..].rfind('/').map_or(start, |slash| start + slash);
            out.truncate(parent);
        }
        // A dot segment at the end leaves its slash: `/a/.` is `/a/`, `/a/b/..` is `/a/`.
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Ok(())
}

/// One segment with the escapes of unreserved characters undone and upper-case digits in the others.
fn push_segment(raw: &str, out: &mut String) -> Result<(), TargetError> {
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match hex_pair(bytes.next(), bytes.next()) {
                None => return Err(TargetError::Path("it has a percent sign that begins no escape")),
                Some(0) => return Err(TargetError::Path("it has an encoded NUL")),
                Some(b'\\') => return Err(TargetError::Path("it has an encoded backslash")),
                Some(decoded) if is_unreserved(decoded) => out.push(char::from(decoded)),
                Some(decoded) => push_escape(decoded, out),
            },
            b'\\' => return Err(TargetError::Path("it has a backslash")),
            b'#' => return Err(TargetError::Path("it has a fragment")),
            0..=b' ' | 0x7f => return Err(TargetError::Path("it has a space or a control character")),
            // What no client sends plain (the path percent-encode set of the WHATWG URL standard).
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'}' | 0x80.. => push_escape(byte, out),
            _ => out.push(char::from(byte)),
        }
    }
    Ok(())
}

/// The query's bytes stay, also a bare `%`: real clients send it. Only what cannot stand in a request line changes.
fn push_query(query: &str, out: &mut String) -> Result<(), TargetError> {
    for byte in query.bytes() {
        match byte {
            b'#' => return Err(TargetError::Query("it has a fragment")),
            0..=b' ' | 0x7f => return Err(TargetError::Query("it has a space or a control character")),
            b'"' | b'<' | b'>' | 0x80.. => push_escape(byte, out),
            _ => out.push(char::from(byte)),
        }
    }
    Ok(())
}

/// Returns true if some server reads this segment as a dot segment, although it is not one: by decoding `%2F`, by decoding twice
/// (`%252e`), by accepting overlong UTF-8 (`%C0%AE`), or by cutting parameters off (`..;x`, servlet containers).
fn hides_dot_segment(segment: &[u8]) -> bool {
    if !segment.iter().any(|b| matches!(b, b'%' | b';')) {
        return false;
    }
    let mut decoded = segment.to_vec();
    let mut layers = 0;
    while let Some(shorter) = decode_once(&decoded) {
        decoded = shorter;
        layers += 1;
        // `%252525...` has a layer for every two bytes: what needs this many is not worth the time to find out.
        if layers > LAYERS_MAX {
            return true;
        }
    }
    decoded.split(|b| matches!(b, b'/' | b'\\')).any(|part| {
        let bare = part.split(|b| *b == b';').next().unwrap_or(part);
        matches!(bare, b"." | b"..")
    })
}

/// Undoes one layer of percent-encoding and of overlong UTF-8; `None` if there was none. Each layer is shorter than the one
/// before.
fn decode_once(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, taken) = match (first, tail) {
            (b'%', [high, low, ..]) => match hex_pair(Some(*high), Some(*low)) {
                Some(decoded) => (decoded, 3),
                None => (first, 1),
            },
            // Overlong forms of ASCII, which RFC 3629 §3 forbids and old decoders accept.
            (0xc0 | 0xc1, [last @ 0x80..=0xbf, ..]) => ((first & 1) << 6 | (last & 0x3f), 2),
            (0xe0, [middle @ 0x80..=0x81, last @ 0x80..=0xbf, ..]) => ((middle & 1) << 6 | (last & 0x3f), 3),
            _ => (first, 1),
        };
        out.push(byte);
        rest = &rest[taken..];
    }
    (out.len() < bytes.len()).then_some(out)
}

fn hex_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let value = digit(high)? * 16 + digit(low)?;
    u8::try_from(value).ok()
}

fn push_escape(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
