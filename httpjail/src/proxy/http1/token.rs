//! Bytes and names of header fields (RFC 9110 section 5), as servers read and write them.

/// Returns whether a server might take `name` for `known` (lower case).
pub(crate) fn looks_like(name: &[u8], known: &[u8]) -> bool {
    let same = |(byte, known): (&u8, &u8)| byte.to_ascii_lowercase() == *known || *byte == b'_' && *known == b'-';
    name.len() == known.len() && name.iter().zip(known).all(same)
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What stands in a field's value (RFC 9110 section 5.5): no control character but the tab.
pub(crate) fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

/// Spells a name as most programs do over HTTP/1: `X-Name`.
pub(crate) fn title_case(name: &mut [u8]) {
    let mut after = b'-';
    for byte in name {
        match std::mem::replace(&mut after, *byte) {
            b'-' => byte.make_ascii_uppercase(),
            _ => byte.make_ascii_lowercase(),
        }
    }
}
