//! What a malformed head asked for, as far as its bytes tell: for the log and the answer only.
//!
//! A refusal without a URL looks as if it came from the server. These words are shown and never acted on.

use crate::net::{Host, Scheme};
use crate::proxy::authority::split_port;
use crate::proxy::http1::token::is_token;
use std::fmt::Write;

/// How much of the URL of a request that could not be understood is recorded and echoed, in characters.
pub(crate) const RAW_URL_MAX: usize = 2048;

/// What is recorded and echoed of a URL that was not understood.
pub(crate) fn raw(url: &str) -> String {
    url.chars().take(RAW_URL_MAX).collect()
}

/// No registered method is longer.
const METHOD_MAX: usize = 32;

/// How a connection's requests are told of that name no host themselves.
#[derive(Debug, Clone)]
pub(crate) struct DefaultOrigin {
    pub(crate) scheme: Scheme,
    pub(crate) host: Option<Host>,
}

impl DefaultOrigin {
    /// That of a connection to a proxy, which leads nowhere by itself.
    pub(crate) fn unknown() -> DefaultOrigin {
        DefaultOrigin {
            scheme: Scheme::Http,
            host: None,
        }
    }
}

/// A method, a URL and a host that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnparsedRequest {
    pub(crate) method: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) host: Option<String>,
}

impl UnparsedRequest {
    /// What `head` asks for, which came on `default_origin`; nothing where it does not begin as a request does.
    pub(crate) fn of(head: &[u8], default_origin: &DefaultOrigin) -> UnparsedRequest {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let line = lines.next().unwrap_or_default();
        let Some((method, target)) = parted(line, b' ') else {
            return UnparsedRequest::default();
        };
        if method.len() > METHOD_MAX || !method.iter().all(|byte| is_token(*byte)) || target.is_empty() {
            return UnparsedRequest::default();
        }
        let target = match target.iter().rposition(|byte| *byte == b' ') {
            Some(space) if target[space + 1..].starts_with(b"HTTP/") => target[..space].trim_ascii(),
            _ => target,
        };
        let field = lines.filter_map(|line| parted(line, b':'));
        let host = field
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"host"))
            .map(|(_, value)| text(value.trim_ascii()))
            .next();
        let authority = host
            .or_else(|| default_origin.host.as_ref().map(Host::to_string))
            .unwrap_or_default();
        let target = text(target);
        let url = match !target.starts_with('/') && target.contains("://") {
            true => target,
            false => format!("{}://{authority}{target}", default_origin.scheme.as_str()),
        };
        let url = raw(&url);
        UnparsedRequest {
            method: Some(text(method)),
            host: host_in(&url).map(str::to_owned),
            url: Some(url),
        }
    }
}

fn host_in(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, _) = split_port(authority.rsplit('@').next()?);
    (!host.is_empty()).then_some(host)
}

fn parted(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

/// So much of `bytes` as is shown. What is no UTF-8 is written out.
fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes[..bytes.len().min(RAW_URL_MAX)].utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    raw(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &[u8], expected: Option<(&str, &str)>) {
        let default_origin = DefaultOrigin {
            scheme: Scheme::Https,
            host: Host::parse("sni.test").ok(),
        };
        let asked = UnparsedRequest::of(head, &default_origin);
        assert_eq!(asked.method.as_deref().zip(asked.url.as_deref()), expected);
        let host = expected.map(|(_, url)| {
            ["a.test", "b.test", "sni.test"]
                .into_iter()
                .find(|host| url.to_lowercase().contains(host))
        });
        assert_eq!(asked.host.map(|host| host.to_lowercase()).as_deref(), host.flatten());
    }

    #[test]
    fn what_was_asked_for() {
        check(
            b"GET /a b HTTP/1.1\r\nHost: A.test:1\r\n",
            Some(("GET", "https://A.test:1/a b")),
        );
        check(
            b"GET /a#b HTTP/1.1\r\nX: y\r\n\r\nHost",
            Some(("GET", "https://sni.test/a#b")),
        );
        check(
            b"get  http://b.test/\x1b[2J\xff HTTP/2.0",
            Some(("get", "http://b.test/\u{1b}[2J\\xff")),
        );
        check(
            b"M-SEARCH /?u=http://c.test/# HTTP/1.1",
            Some(("M-SEARCH", "https://sni.test/?u=http://c.test/#")),
        );
        check(b"GET /a", Some(("GET", "https://sni.test/a")));
        for none in [
            b"".as_slice(),
            b"GET",
            b"GET ",
            b"\x16\x03 /",
            b"3;a b",
            &[b'G'; 70_000],
        ] {
            check(none, None);
        }
        let long = [b"GET /".as_slice(), &[b'x'; 9000]].concat();
        let url = format!("https://sni.test/{}", "x".repeat(RAW_URL_MAX));
        check(&long, Some(("GET", &url[..RAW_URL_MAX])));
    }
}
