//! One segment of a path as a pattern: what is chosen anew each time (an id, a hash, a version) in its general form, the
//! rest letter by letter.

use std::sync::LazyLock;

use regex::Regex;

use crate::policy::spell::literal;

/// Any name.
const ANY: &str = "[^/?]+";

/// What stands for something that varies, and the pattern that is put in its place. Each is tried where a word begins, and
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
mod tests {
    use super::*;
    use crate::policy::Pattern;

    #[track_caller]
    fn check(segment: &str, pattern: &str) {
        assert_eq!(general(segment), pattern, "{segment}");
        assert!(
            Pattern::new(&format!("^{pattern}$"))
                .expect("a pattern")
                .matches(segment)
                == Some(true),
            "{segment}"
        );
    }

    #[test]
    fn names_stay() {
        for name in [
            "v1", "users", "x86_64", "api-2", "left-pad", "facade", "deadbeef", "log4j", "s3", "Q3", "2fa", "",
        ] {
            assert_eq!(general(name), name);
        }
        check("a.b(c)", r"a\.b\(c\)");
        check("@babel%2Fcore", "@babel%2Fcore");
        check("manylinux_2_17_x86_64.whl", r"manylinux_2_17_x86_64\.whl");
    }

    #[test]
    fn what_varies_is_general() {
        check("42", "[0-9]+");
        check("20240102", "[0-9]+");
        check("550e8400-e29b-41d4-a716-446655440000", "[0-9A-Fa-f-]{36}");
        check("report-2024-01-02.csv", r"report-[0-9]{4}-[0-9]{2}-[0-9]{2}\.csv");
        check("left-pad-1.3.0.tgz", r"left-pad-[0-9][^/?]*\.tgz");
        check("left-pad-1.3.0-beta.2.tgz", r"left-pad-[0-9][^/?]*\.tgz");
        check("numpy-1.26.4-cp311-abi3.whl", r"numpy-[0-9][^/?]*-cp311-abi3\.whl");
        check("v1.2.3", "v[0-9][^/?]*");
        check("node-v20.1.0.tar.gz", r"node-v[0-9][^/?]*\.tar\.gz");
        check("1.0", "[0-9][^/?]*");
        check("sha256:0123456789abcdef0123", "sha256:[0-9A-Fa-f]+");
        check("a1b2c3d", "[0-9A-Fa-f]+");
        check("main.a1b2c3d4.js", r"main\.[0-9A-Fa-f]+\.js");
        check("V1StGXR8_Z5jdHi6B-myT", "[0-9A-Za-z_-]+");
        check("user-12345", "user-[0-9]+");
    }

    #[test]
    fn any_of_many_names() {
        let any = |names: &[&str]| any_of(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().iter());
        assert_eq!(any(&["a", "b"]), "[^/?]+");
        assert_eq!(any(&[r"a\.tgz", r"b\.tgz"]), r"[^/?]+\.tgz");
        assert_eq!(any(&[r"a\.tgz", r"b\.zip"]), "[^/?]+");
        assert_eq!(any(&[r"a[0-9]+", r"b\.zip"]), "[^/?]+");
    }
}
