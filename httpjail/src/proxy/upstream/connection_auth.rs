//! Authentication that is about a connection and not about a request: NTLM, Negotiate and their like (RFC 4559,
//! [MS-NTHT]).

use http::header::{AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Schemes that authenticate a connection. The last three are what services of Windows offer beside the first two.
const SCHEMES: [&[u8]; 5] = [b"NTLM", b"Negotiate", b"Kerberos", b"Nego2", b"CredSSP"];

/// What such a server says of the requests that are to come (`Persistent-Auth: true`).
const PERSISTENT_AUTH: HeaderName = HeaderName::from_static("persistent-auth");

/// Returns whether a request with these fields proves who its connection belongs to.
pub(crate) fn proves(fields: &HeaderMap) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION]
        .iter()
        .any(|name| names_one_of(fields, name, &SCHEMES))
}

/// Returns whether another proxy that refused httpjail with these fields accepts no password, only such a proof.
pub(crate) fn takes_no_password(fields: &HeaderMap) -> bool {
    names_one_of(fields, &PROXY_AUTHENTICATE, &SCHEMES)
        && !names_one_of(fields, &PROXY_AUTHENTICATE, &[b"Basic".as_slice()])
}

/// Returns whether an answer with these fields asks for such a proof, or says that it holds on.
pub(crate) fn asks(fields: &HeaderMap) -> bool {
    let challenges = [WWW_AUTHENTICATE, PROXY_AUTHENTICATE];
    challenges.iter().any(|name| names_one_of(fields, name, &SCHEMES)) || fields.contains_key(PERSISTENT_AUTH)
}

/// Says to the client of a proxy that it may authenticate so through it (RFC 4559 section 6): some do not before.
pub(crate) fn promise(answer: &mut HeaderMap) {
    if asks(answer) {
        answer.insert(
            "proxy-support",
            HeaderValue::from_static("Session-Based-Authentication"),
        );
    }
}

/// Returns whether one of the fields called `name` names one of `schemes`, at its beginning or after a comma. A comma
/// may also stand in a quoted realm: a connection that is kept apart for what is said there is no harm, and clients
/// differ in where they see the end of a quotation.
fn names_one_of(fields: &HeaderMap, name: &HeaderName, schemes: &[&[u8]]) -> bool {
    let parts = fields.get_all(name).iter();
    let mut parts = parts.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    parts.any(|part| {
        let word = part.trim_ascii_start();
        let end = word.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'='));
        let word = &word[..end.unwrap_or(word.len())];
        schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_static(value));
        values.map(|value| (name.clone(), value)).collect()
    }

    // Proves: H10.
    #[test]
    fn what_is_about_the_connection() {
        let asked = |values: &[&'static str]| {
            assert!(!asks(&fields(AUTHORIZATION, values)) && !proves(&fields(WWW_AUTHENTICATE, values)));
            assert_eq!(
                asks(&fields(WWW_AUTHENTICATE, values)),
                asks(&fields(PROXY_AUTHENTICATE, values))
            );
            asks(&fields(WWW_AUTHENTICATE, values))
        };
        for yes in [
            &["NTLM"][..],
            &["ntlm TlRMTVNTUAAC"],
            &["Negotiate"],
            &["Basic realm=\"a\"", "Negotiate"],
            &["Basic realm=\"a, b\", charset=\"UTF-8\",NTLM"],
            &["Basic realm=\"never closed, Negotiate oYG2"],
            &["\tKERBEROS"],
            &["Nego2"],
            &["CredSSP"],
        ] {
            assert!(asked(yes), "{yes:?}");
        }
        for no in [
            &["Basic realm=\"NTLM\""][..],
            &["Digest realm=\"a\", nonce=\"ntlm\""],
            &["Bearer"],
            &["NTLMX"],
            &[""],
            &[],
        ] {
            assert!(!asked(no), "{no:?}");
        }
        let refused = |values| takes_no_password(&fields(PROXY_AUTHENTICATE, values));
        assert!(refused(&["Negotiate", "NTLM"]) && !refused(&["NTLM, Basic realm=\"a\""]) && !refused(&[]));
        assert!(asks(&fields(PERSISTENT_AUTH, &["true"])));
        assert!(proves(&fields(AUTHORIZATION, &["Negotiate YIIC"])));
        assert!(!proves(&fields(AUTHORIZATION, &["Bearer NTLM"])));
    }
}
