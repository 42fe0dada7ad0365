//! Rewrites bytes of a request target that clients really send and hyper does not accept.
//!
//! Programs write `/search?q=stars:>1000`, and servers understand them. hyper accepts no `>` in a target, so that byte
//! becomes `%3E` before hyper sees it. The rewritten target is what is judged and sent. The policy's canonical form is
//! the same for both spellings, so neither is a way around a rule.

use crate::proxy::http1::framing::fault::Fault;
use http::Uri;
use std::io::Write;

/// The longest that hyper takes.
const LONGEST: usize = u16::MAX as usize - 1;

/// Returns the other spelling of `target`, if it needs one.
pub(crate) fn respelt(target: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    // hyper drops a fragment and says nothing.
    if target.is_empty() || target.iter().any(|byte| byte.is_ascii_control() || *byte == b'#') {
        return Err(Fault::RequestTarget);
    }
    let path = path_of(target);
    let (before, path) = target.split_at(path);
    // Latin-1 and the like. Of UTF-8 the canonical path makes escapes.
    let foreign = std::str::from_utf8(path).is_err();
    let query = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let is_odd = |(at, byte): (usize, &u8)| match byte {
        b'<' | b'>' => true,
        b'`' => at < query,
        b'"' => at > query,
        0x80.. => foreign,
        _ => false,
    };
    let spelled = path.iter().enumerate().any(is_odd).then(|| {
        let mut spelled = before.to_vec();
        for (at, byte) in path.iter().enumerate() {
            if is_odd((at, byte)) {
                // Writing to memory does not fail.
                let _ = write!(spelled, "%{byte:02X}");
            } else {
                spelled.push(*byte);
            }
        }
        spelled
    });
    let target = spelled.as_deref().unwrap_or(target);
    if target.len() > LONGEST {
        return Err(Fault::TooLarge);
    }
    // A path is taken now, whatever is in it.
    if target.first() != Some(&b'/') && Uri::try_from(target).is_err() {
        return Err(Fault::RequestTarget);
    }
    Ok(spelled)
}

/// Where the path begins: at once, or behind an authority.
fn path_of(target: &[u8]) -> usize {
    if target.first() == Some(&b'/') {
        return 0;
    }
    let Some(scheme) = target.windows(3).position(|three| three == b"://") else {
        return target.len();
    };
    let authority = scheme + 3;
    let length = target[authority..].iter().position(|byte| b"/?".contains(byte));
    length.map_or(target.len(), |length| authority + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Scheme;
    use crate::policy::Target;
    use http::Method;

    fn check(target: &[u8], expected: Result<Option<&str>, Fault>) {
        let expected = expected.map(|spelled| spelled.map(|spelled| spelled.as_bytes().to_vec()));
        assert_eq!(respelt(target), expected, "{:?}", String::from_utf8_lossy(target));
    }

    #[test]
    fn targets() {
        for same in [
            "/",
            "*",
            "/a?b=c",
            "/{a}|\\^[b]\"",
            "/a?{b}|\\^[c]`",
            "/\u{fc}?\u{fc}",
            "http://a.test/\"?`",
            "a.test:443",
        ] {
            check(same.as_bytes(), Ok(None));
        }
        check(b"/search?q=stars:>1000", Ok(Some("/search?q=stars:%3E1000")));
        check(b"/<a>`?<b>`\"", Ok(Some("/%3Ca%3E%60?%3Cb%3E`%22")));
        check(b"/a??\"", Ok(Some("/a??%22")));
        check(b"/caf\xe9?\xc3\xa9", Ok(Some("/caf%E9?%C3%A9")));
        check(b"http://a.test/<", Ok(Some("http://a.test/%3C")));
        check(b"http://a.test?q=>", Ok(Some("http://a.test?q=%3E")));
        check(b"HTTP://[::1]:80/>//", Ok(Some("HTTP://[::1]:80/%3E//")));
        for bad in [
            "",
            "/a#b",
            "/a\tb",
            "/\u{7f}",
            "a<b",
            "a/b",
            "?x",
            "http://",
            "http:///x",
            "http://a<b/",
            "http://\u{fc}.test/",
        ] {
            check(bad.as_bytes(), Err(Fault::RequestTarget));
        }
        check(&[b"/".as_slice(), &[b'<'; 30_000]].concat(), Err(Fault::TooLarge));
    }

    fn any_target() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        use proptest::prelude::*;
        let odd = b"<>\"`{}|\\^[]?/%.;:@=&".to_vec();
        let byte = prop_oneof![proptest::sample::select(odd), 0x21..=0x7e_u8, 0x80..=0xff_u8];
        let start = proptest::sample::select(vec!["/", "http://a.test/", "http://a.test?", "http://a.test:8080", "a"]);
        let both = (start, proptest::collection::vec(byte, 0..24));
        both.prop_map(|(start, rest)| [start.as_bytes(), &rest].concat())
    }

    proptest::proptest! {
        /// What is spelled is spelled for good, hyper takes it, and it is the same to the policy as what was not.
        #[test]
        fn the_spelling_is_one(target in any_target()) {
            let spelled = respelt(&target);
            let Ok(spelled) = spelled else { return Ok(()) };
            let taken = spelled.clone().unwrap_or_else(|| target.clone());
            proptest::prop_assert_eq!(respelt(&taken), Ok(None));
            let uri = Uri::try_from(taken.as_slice());
            proptest::prop_assert!(uri.is_ok(), "{:?}", String::from_utf8_lossy(&taken));
            let (Ok(before), Ok(after)) = (std::str::from_utf8(&target), std::str::from_utf8(&taken)) else {
                return Ok(());
            };
            let judged = |target: &str| {
                let path = &target[path_of(target.as_bytes())..];
                Target::new(&Method::GET, Scheme::Http, "a.test", path)
            };
            proptest::prop_assert_eq!(judged(before), judged(after));
            if let Ok(target) = judged(after) {
                let sent = target.path_and_query().as_bytes();
                proptest::prop_assert_eq!(respelt(sent), Ok(None));
            }
        }
    }
}
