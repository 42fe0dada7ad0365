//! Decides which header fields cross the proxy.
//!
//! Fields about one connection end here (RFC 9110 section 7.6.1), and so do those by which a client could ask for
//! another method than the one that was judged. The other fields keep their order, because some servers and clients
//! depend on it.

use crate::proxy::http1::token::looks_like;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Returns whether a field concerns one connection, whatever `Connection` says. `Trailer` stays: without it hyper sends no
/// trailers.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns whether a field of a request ends here too, or is rewritten.
fn is_rewritten(name: &HeaderName) -> bool {
    matches!(name.as_str(), "te" | "expect" | "http2-settings")
}

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

/// Makes a client's header fields fit to be sent upstream with a body of this `length`, if it has one that is to be
/// told: never the length that the client told. `Host` stays in its place: [`name_host`] and [`leave_out`] see to it.
pub(crate) fn clean_request(headers: &mut HeaderMap, length: Option<u64>) {
    // One walk over the few fields that there are costs less than a look-up of each name.
    let (mut going, mut has_cookies) = (Vec::new(), false);
    for name in headers.keys() {
        has_cookies |= *name == header::COOKIE;
        let is_length = length.is_none() && *name == header::CONTENT_LENGTH;
        if is_length || is_hop_by_hop(name) || is_rewritten(name) || is_override(name) {
            going.push(name.clone());
        }
    }
    name_those_of_the_connection(headers, &mut going);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if going.contains(&header::TE) && headers.get_all(header::TE).iter().any(wants_trailers) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        going.retain(|name| *name != header::TE);
    }
    leave_out(headers, &going);
    if has_cookies {
        join_cookies(headers);
    }
}

/// The same for what comes after a client's body.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    clean_request(trailers, None);
    leave_out(trailers, &[header::TE, header::HOST]);
}

/// Prepares an upstream's header fields for the client. `Alt-Svc` would send it to a port or a protocol
/// (HTTP/3) where nothing can be judged.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    let ends_here = |name: &&HeaderName| **name == header::ALT_SVC || is_hop_by_hop(name);
    let mut going = headers.keys().filter(ends_here).cloned().collect();
    name_those_of_the_connection(headers, &mut going);
    leave_out(headers, &going);
}

/// Writes the `Host` field, in its place if the client had one, else as the first (RFC 9110 section 7.2).
pub(crate) fn name_host(headers: &mut HeaderMap, host: HeaderValue) {
    if headers.contains_key(header::HOST) {
        headers.insert(header::HOST, host);
        return;
    }
    let rest = std::mem::take(headers);
    headers.reserve(rest.len() + 1);
    headers.insert(header::HOST, host);
    append(headers, rest, &[]);
}

/// Removes the fields of these names. (`HeaderMap::remove` puts the last field into the place of the one that goes.)
pub(crate) fn leave_out(headers: &mut HeaderMap, names: &[HeaderName]) {
    // The last can go by itself. In the answers of many servers that is `Connection`.
    while let Some(last) = headers.keys().last().filter(|last| names.contains(last)).cloned() {
        headers.remove(last);
    }
    if names.iter().any(|name| headers.contains_key(name)) {
        let all = std::mem::take(headers);
        headers.reserve(all.len());
        append(headers, all, names);
    }
}

/// Appends `fields` but for those `without`.
fn append(headers: &mut HeaderMap, fields: HeaderMap, without: &[HeaderName]) {
    let mut current = None;
    for (name, value) in fields {
        // Further values of a field come without its name.
        if let Some(name) = name {
            current = Some(name).filter(|name| !without.contains(name));
        }
        if let Some(name) = &current {
            headers.append(name, value);
        }
    }
}

/// The same for what comes after an answer's body: a length or a coding there says nothing any more, and a client of
/// HTTP/2 takes it for an error.
pub(crate) fn clean_response_trailers(trailers: &mut HeaderMap) {
    clean_response(trailers);
    for name in [header::CONTENT_LENGTH, header::TRAILER, header::TE] {
        trailers.remove(name);
    }
}

/// Refuses what two programs could read in two ways (RFC 9112 section 6.3): hyper's client takes the chunks where there
/// is a length besides, and reads to the end where a coding is not `chunked`. Equal lengths become one.
pub(crate) fn vet_response(headers: &mut HeaderMap) -> Result<(), &'static str> {
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
            return Err("The server's answer has an invalid length, or two.");
        }
        let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
        let is_plain = lines.next().is_some_and(|line| line.as_bytes() == length) && lines.next().is_none();
        if !is_plain {
            let length = HeaderValue::from_bytes(length).map_err(|_| "The server's answer has an invalid length.")?;
            headers.insert(header::CONTENT_LENGTH, length);
        }
    }
    Ok(())
}

/// Returns whether a client waits to be asked for its body.
pub(crate) fn expects(headers: &HeaderMap) -> bool {
    let field = headers.get(header::EXPECT);
    field.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Returns whether it is a message of gRPC, which is HTTP/2's alone.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Returns whether a list header (`Connection`, `Upgrade`) names `token`.
pub(crate) fn names_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut tokens = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    tokens.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

/// CGI and its heirs (WSGI, Rack, PHP) read `X_Method_Override` as `X-Method-Override` (RFC 3875 section 4.1.18).
fn is_override(name: &HeaderName) -> bool {
    let spelled = name.as_str().as_bytes();
    OVERRIDES.iter().any(|known| looks_like(spelled, known)) && *name != header::CONTENT_LENGTH
}

/// Adds the fields that `Connection` names, if it is among those that are `going`.
fn name_those_of_the_connection(headers: &HeaderMap, going: &mut Vec<HeaderName>) {
    if !going.contains(&header::CONNECTION) {
        return;
    }
    let named = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Hop-by-hop by a client's wish, never for what the request is about.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH);
    going.extend(named);
}

fn wants_trailers(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers"))
}

/// HTTP/2 may split `Cookie`; HTTP/1 may not (RFC 9113 section 8.2.3). Empty parts would leave a space at the value's
/// end, which HTTP/1 does not carry.
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
mod tests;
