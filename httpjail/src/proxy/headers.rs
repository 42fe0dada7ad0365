//! Which header fields cross the proxy.
//!
//! What concerns one connection ends here (RFC 9110 section 7.6.1), and so does what would let a client ask for another
//! method than the one that was judged.

use super::framing::looks_like;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that concern one connection, whatever `Connection` says. `Trailer` stays: without it hyper sends no trailers.
static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields of a request that are written anew. The length is written by the sender's framing of the body it really sends.
static REWRITTEN: [HeaderName; 5] = [
    header::HOST,
    header::TE,
    header::EXPECT,
    header::CONTENT_LENGTH,
    HeaderName::from_static("http2-settings"),
];

/// Fields by which some frameworks let a POST be another method. They would make the judged method a fiction, so they
/// are always removed, also where no rule restricts methods. The next two do the same to the path (IIS, older PHP
/// frameworks). The last are never a client's to say; here they stand for what looks like them (`Content_Length`).
const OVERRIDES: [&[u8]; 7] = [
    b"x-http-method-override",
    b"x-method-override",
    b"x-http-method",
    b"x-original-url",
    b"x-rewrite-url",
    b"content-length",
    b"transfer-encoding",
];

/// Makes a client's header fields fit to be sent upstream. `Host` is taken out: the caller writes it from the target.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    let trailers = headers.get_all(header::TE).iter().any(wants_trailers);
    strip_connection(headers);
    remove_overrides(headers);
    for name in &REWRITTEN {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    join_cookies(headers);
}

/// The same for what comes after a client's body.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    clean_request(trailers);
    trailers.remove(header::TE);
}

/// Makes an upstream's header fields fit to be sent to the client. `Alt-Svc` would send it to a port or a protocol
/// (HTTP/3) where nothing can be judged.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    strip_connection(headers);
    headers.remove(header::ALT_SVC);
}

/// The same for what comes after an answer's body: a length or a coding there says nothing any more, and a client of HTTP/2
/// takes it for an error.
pub(super) fn clean_response_trailers(trailers: &mut HeaderMap) {
    clean_response(trailers);
    for name in [header::CONTENT_LENGTH, header::TRAILER, header::TE] {
        trailers.remove(name);
    }
}

/// Refuses what two programs could read in two ways (RFC 9112 section 6.3): hyper's client takes the chunks where there is
/// a length besides, and reads to the end where a coding is not `chunked`. Equal lengths become one.
pub(super) fn vet_response(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err("The transfer encoding of the server's answer is not `chunked` alone."),
    };
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lengths.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    if let Some(length) = lengths.next().map(<[u8]>::trim_ascii) {
        if chunked {
            return Err("The server's answer has a length and is chunked, too.");
        }
        // hyper does not look where there is no body.
        if length.is_empty()
            || !length.iter().all(u8::is_ascii_digit)
            || lengths.any(|more| more.trim_ascii() != length)
        {
            return Err("The server's answer has a length that is none, or two.");
        }
        let length = HeaderValue::from_bytes(length).map_err(|_| "The server's answer has a length that is none.")?;
        headers.insert(header::CONTENT_LENGTH, length);
    }
    Ok(())
}

/// Whether a client waits to be asked for its body.
pub(super) fn expects(headers: &HeaderMap) -> bool {
    let field = headers.get(header::EXPECT);
    field.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether it is a message of gRPC, which is HTTP/2's alone.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether a list header (`Connection`, `Upgrade`) names `token`.
pub(super) fn names_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut tokens = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    tokens.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

/// CGI and its heirs (WSGI, Rack, PHP) read `X_Method_Override` as `X-Method-Override` (RFC 3875 section 4.1.18).
fn remove_overrides(headers: &mut HeaderMap) {
    let is_override = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        OVERRIDES.iter().any(|known| looks_like(name, known))
    };
    let found: Vec<HeaderName> = headers.keys().filter(is_override).cloned().collect();
    for name in &found {
        headers.remove(name);
    }
}

fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Hop-by-hop by a client's wish, never for what the request is about.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn wants_trailers(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers"))
}

/// HTTP/2 may split `Cookie`; HTTP/1 may not (RFC 9113 section 8.2.3). Empty parts would leave a space at the value's end,
/// which HTTP/1 does not carry.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies = headers.get_all(header::COOKIE).iter();
    let parts: Vec<&[u8]> = cookies.map(HeaderValue::as_bytes).collect();
    if parts.len() < 2 {
        return;
    }
    let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    #[track_caller]
    fn check(before: &[(&str, &str)], after: &[(&str, &str)]) {
        let mut headers = map(before);
        clean_request(&mut headers);
        assert_eq!(headers, map(after));
    }

    // Proves: H16, H17.
    #[test]
    fn what_ends_at_the_proxy() {
        check(&[("accept", "a"), ("x-own", "b")], &[("accept", "a"), ("x-own", "b")]);
        check(
            &[("connection", "keep-alive, X-Own"), ("x-own", "b"), ("accept", "a")],
            &[("accept", "a")],
        );
        check(&[("connection", "authorization"), ("authorization", "x")], &[]);
        check(&[("te", "gzip, Trailers"), ("connection", "te")], &[("te", "trailers")]);
        check(&[("te", "gzip")], &[]);
        check(
            &[
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABk"),
                ("connection", "upgrade, http2-settings"),
            ],
            &[],
        );
        check(
            &[
                ("proxy-authorization", "Basic x"),
                ("proxy-connection", "keep-alive"),
                ("keep-alive", "1"),
            ],
            &[],
        );
        check(
            &[
                ("x-http-method-override", "DELETE"),
                ("x-method-override", "PUT"),
                ("x-http-method", "PUT"),
            ],
            &[],
        );
        check(
            &[
                ("x_http_method_override", "DELETE"),
                ("x-original-url", "/admin"),
                ("x_rewrite-url", "/admin"),
                ("x-original-uri", "kept"),
                ("content_length", "5"),
                ("transfer_encoding", "chunked"),
            ],
            &[("x-original-uri", "kept")],
        );
        check(
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")],
            &[("cookie", "a=1; b=2; c=3")],
        );
        check(
            &[("cookie", ""), ("cookie", "a=1"), ("cookie", "")],
            &[("cookie", "a=1")],
        );
        check(&[("cookie", ""), ("cookie", "")], &[("cookie", "")]);
        check(&[("trailer", "grpc-status")], &[("trailer", "grpc-status")]);
    }

    // Proves: S06.
    #[test]
    fn what_a_client_never_sees() {
        let mut headers = map(&[
            ("alt-svc", "h3=\":443\""),
            ("connection", "x-a"),
            ("x-a", "1"),
            ("etag", "e"),
        ]);
        clean_response(&mut headers);
        assert_eq!(headers, map(&[("etag", "e")]));
    }
}
