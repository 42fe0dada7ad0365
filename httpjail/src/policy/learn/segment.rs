//! Turns one segment of a path into a pattern: what varies from request to request (an id, a hash, a version) in its general
//! form, the rest literally.

use std::sync::LazyLock;

use regex::Regex;

use crate::policy::suggest::literal;

/// Any name.
const ANY: &str = "[^/?]+";

/// What varies, and the pattern that replaces it. Each is tried where a word begins, and
/// must end where a word ends. In this order: a UUID begins like a hash, a version like a number.
static VARYING: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        // A UUID (RFC 9562 section 4).
        (r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", "[0-9A-Fa-f-]{36}"),
        // A date.
        (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        // A version: with two numbers at least, `v1` is the name of an interface. What may follow (`-rc.1`, `+build`) is free.
        (
            r"^[0-9]+(\.[0-9]+)+([-._]?(alpha|beta|canary|dev|next|post|pre|rc|a|b)[-.]?[0-9]*(\.[0-9]+)*)?(\+[0-9A-Za-z.-]+)?",
            "[0-9][^/?]*",
        ),
        // A hash: 16 digits or more, or 7 or more with letters and numbers among them (looked at below).
        (r"^[0-9A-Fa-f]{7,}", "[0-9A-Fa-f]+"),
        // A number of some length; a shorter one belongs to a name (`x86_64`).
        (r"^[0-9]{4,}", "[0-9]+"),
    ]
    .map(|(regex, general)| (Regex::new(regex).expect("a regular expression of our own"), general))
    .into()
});

/// A random token: long, and of digits and letters in both cases.
fn is_token(segment: &str) -> bool {
    let has = |test: fn(&u8) -> bool| segment.as_bytes().iter().any(&test);
    segment.len() >= 20
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

/// The pattern for a segment of a canonical path.
pub(super) fn general(segment: &str) -> String {
    if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
        return "[0-9]+".to_owned();
    }
    let mut out = String::new();
    let (mut plain, mut at) = (0, 0);
    while at < segment.len() {
        let found = begins_word(segment, at).then(|| varying(&segment[at..])).flatten();
        match found {
            Some((length, pattern)) => {
                out += &literal(&segment[plain..at]);
                out += pattern;
                at += length;
                plain = at;
            }
            None => at += 1,
        }
    }
    if plain == 0 && is_token(segment) {
        return "[0-9A-Za-z_-]+".to_owned();
    }
    out + &literal(&segment[plain..])
}

/// The pattern for any of these names: with the ending of a file name, where all have the same.
pub(super) fn any_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let ending = |name: &str| {
        let (_, ending) = name.rsplit_once("\\.")?;
        ending
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
            .then(|| format!("\\.{ending}"))
    };
    let mut endings = names.map(|name| ending(name));
    let first = endings.next().flatten();
    match first {
        Some(first) if endings.all(|ending| ending.as_ref() == Some(&first)) => format!("{ANY}{first}"),
        _ => ANY.to_owned(),
    }
}

fn begins_word(segment: &str, at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| segment.as_bytes().get(at).copied());
    match before(1) {
        None => true,
        // `v1.2.3`
        Some(b'v' | b'V') => before(2).is_none_or(is_delimiter),
        Some(byte) => is_delimiter(byte),
    }
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.' | b'@' | b'=' | b'~' | b':' | b',' | b'+')
}

fn varying(rest: &str) -> Option<(usize, &'static str)> {
    VARYING.iter().find_map(|(regex, pattern)| {
        let found = regex.find(rest)?.as_str();
        let ends_word = rest
            .as_bytes()
            .get(found.len())
            .is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let is_hash = || {
            let digits = found.bytes().filter(u8::is_ascii_digit).count();
            found.len() >= 16 || (digits > 0 && digits < found.len())
        };
        let fits = ends_word && (*pattern != "[0-9A-Fa-f]+" || is_hash());
        fits.then_some((found.len(), *pattern))
    })
}

#[cfg(test)]
mod tests;
