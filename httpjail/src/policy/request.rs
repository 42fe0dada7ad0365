//! Parses a request as a person writes it, `[METHOD] URL`, for `check` and for the tests of a policy file.

use http::Method;

use super::{Target, TargetError};
use crate::net::Scheme;

/// Why a text cannot be parsed as a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one or two words.
    #[error("invalid request: expected `[METHOD] URL`")]
    Words,
    /// The URL has no scheme, or one that is not judged.
    #[error("invalid URL `{0}`: expected https:// or http://")]
    Scheme(String),
    /// Not a method.
    #[error("invalid method `{0}`")]
    Method(String),
    /// It has no canonical form; the proxy would answer 400.
    #[error("`{0}` has no canonical form, and would be refused with 400: {1}")]
    Target(String, TargetError),
}

/// Reads `[METHOD] URL`; without a method it is GET. What a client keeps to itself (`#fragment`) is left out.
///
/// # Errors
/// [`RequestError`] if it names no request that could be judged.
pub fn read(text: &str) -> Result<Target, RequestError> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(url), None, _) => of("GET", url),
        (Some(method), Some(url), None) => of(method, url),
        _ => Err(RequestError::Words),
    }
}

/// The same from a method, in any case, and a URL.
///
/// # Errors
/// As [`read`].
pub fn of(method: &str, url: &str) -> Result<Target, RequestError> {
    let wrong = || RequestError::Method(method.to_owned());
    let verb = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| wrong())?;
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| RequestError::Scheme(url.to_owned()))?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(RequestError::Scheme(url.to_owned())),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '*']).unwrap_or(rest.len()));
    Target::new(&verb, scheme, authority, path).map_err(|error| match error {
        TargetError::Method => wrong(),
        error => RequestError::Target(url.to_owned(), error),
    })
}

impl RequestError {
    /// Returns what to write instead, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            RequestError::Words | RequestError::Method(_) => Some("such as `GET https://example.com/path`".into()),
            RequestError::Scheme(url) if !url.contains("://") => Some(format!("write https://{url}")),
            RequestError::Scheme(_) => Some("only HTTP and HTTPS are judged; everything else is refused".into()),
            RequestError::Target(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        for (text, request) in [
            ("https://a.test", "GET https://a.test/"),
            (" post  HTTP://A.test:80/x/../y?q#f ", "POST http://a.test/y?q"),
            ("https://a.test?q", "GET https://a.test/?q"),
            ("OPTIONS http://a.test*", "OPTIONS http://a.test*"),
            ("CONNECT https://[::1]:8443/", "CONNECT https://[::1]:8443/"),
        ] {
            assert_eq!(
                read(text).map(|target| target.to_string()),
                Ok(request.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn no_requests() {
        for (text, message, hint) in [
            ("", "invalid request: expected `[METHOD] URL`", "such as"),
            (
                "GET https://a.test/ x",
                "invalid request: expected `[METHOD] URL`",
                "such as",
            ),
            ("a.test/x", "invalid URL `a.test/x`", "write https://a.test/x"),
            ("ftp://a.test/", "invalid URL `ftp://a.test/`", "only HTTP"),
            ("G?T https://a.test/", "invalid method `G?T`", "such as"),
            ("https://u@a.test/", "would be refused with 400", ""),
            ("https:///x", "would be refused with 400", ""),
            ("GET http://a.test*", "would be refused with 400", ""),
            ("https://a.test/%00", "would be refused with 400", ""),
        ] {
            let error = read(text).map(|target| target.to_string()).expect_err(text);
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{text}: {error}");
        }
    }
}
