//! Bytes and names of header fields (RFC 9110 section 5), as servers read and write them.

/// Returns whether a server might take `name` for `known` (lower case).
pub(crate) fn looks_like(name: &[u8], known: &[u8]) -> bool {
    let same = |(byte, known): (&u8, &u8)| byte.to_ascii_lowercase() == *known || *byte == b'_' && *known == b'-';
    name.len() == known.len() && name.iter().zip(known).all(same)
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// What stands in a field's value (RFC 9110 section 5.5): no control character but the tab.
pub(crate) fn is_text(byte: u8) -> bool {
    TEXT[usize::from(byte)]
}

/// Every byte of every head is looked up in these.
static TOKEN: [bool; 256] = table(true);
static TEXT: [bool; 256] = table(false);

const fn table(of_tokens: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match of_tokens {
            true => {
                byte.is_ascii_alphanumeric()
                    || matches!(
                        byte,
                        b'!' | b'#'
                            | b'$'
                            | b'%'
                            | b'&'
                            | b'\''
                            | b'*'
                            | b'+'
                            | b'-'
                            | b'.'
                            | b'^'
                            | b'_'
                            | b'`'
                            | b'|'
                            | b'~'
                    )
            }
            false => !byte.is_ascii_control() || byte == b'\t',
        };
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
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
