//! Method and URL of a request, in canonical form.
//!
//! [`Target::new`] is the only constructor, in two steps where many requests name one [`Origin`]. What it returns is judged, logged
//! and forwarded, byte for byte. A request without a canonical form has no target, and the proxy answers 400.

mod error;

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::path;
use crate::net::{Host, Scheme};

pub use error::TargetError;

/// Method and URL of a request: `scheme://host[:port]/path[?query]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    method: Method,
    origin: Arc<Origin>,
    url: String,
}

/// Where requests go, in canonical form: `scheme://host[:port]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
    /// How a URL of it begins: up to the path.
    url: String,
}

impl Origin {
    /// Makes the canonical origin of `authority`, which is `host[:port]`.
    ///
    /// # Errors
    /// [`TargetError`] if the authority has no canonical spelling.
    pub(crate) fn new(scheme: Scheme, authority: &str) -> Result<Origin, TargetError> {
        let (host, port) = split_authority(authority)?;
        let port = port.unwrap_or(scheme.default_port());
        let mut url = format!("{}://{host}", scheme.as_str());
        if port != scheme.default_port() {
            url.push(':');
            url.push_str(&port.to_string());
        }
        Ok(Origin {
            scheme,
            host,
            port,
            url,
        })
    }
}

/// Longer than any registered method; a bound so that a log line has one.
const METHOD_MAX: usize = 32;

impl Target {
    /// Makes the canonical target of a request. `authority` is `host[:port]`; an empty `path_and_query` means `/`.
    ///
    /// ```
    /// use http::Method;
    /// use httpjail::net::Scheme;
    /// use httpjail::policy::{Target, TargetError};
    ///
    /// let target = Target::new(&Method::GET, Scheme::Https, "Example.com:443", "/a/../b%2Dc?q")?;
    /// assert_eq!(target.to_string(), "GET https://example.com/b-c?q");
    ///
    /// // Some servers read this as `/secret`, others as `/public/..;/secret`.
    /// assert!(Target::new(&Method::GET, Scheme::Https, "example.com", "/public/..;/secret").is_err());
    /// # Ok::<(), TargetError>(())
    /// ```
    ///
    /// `*` is taken for `OPTIONS` only; its URL is the authority followed by `*`, so that it is not mistaken for `/*`.
    ///
    /// # Errors
    /// [`TargetError`] if any part has no canonical spelling.
    pub fn new(method: &Method, scheme: Scheme, authority: &str, path_and_query: &str) -> Result<Target, TargetError> {
        if !is_canonical_method(method.as_str()) {
            return Err(TargetError::Method);
        }
        Target::at(method, Arc::new(Origin::new(scheme, authority)?), path_and_query)
    }

    /// Makes the canonical target of a request to `origin`: [`Target::new`] for many requests with one authority.
    ///
    /// # Errors
    /// [`TargetError`] if the method or the path has no canonical spelling.
    pub(crate) fn at(method: &Method, origin: Arc<Origin>, path_and_query: &str) -> Result<Target, TargetError> {
        if !is_canonical_method(method.as_str()) {
            return Err(TargetError::Method);
        }
        let mut url = String::with_capacity(origin.url.len() + path_and_query.len() + 1);
        url.push_str(&origin.url);
        if path_and_query == "*" && method == Method::OPTIONS {
            url.push('*');
        } else {
            path::canonicalize(path_and_query, &mut url)?;
        }
        Ok(Target {
            method: method.clone(),
            origin,
            url,
        })
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.origin.scheme
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.origin.host
    }

    /// The port, also where the URL leaves it out.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// `host[:port]`, the default port left out: what belongs into a Host field or `:authority`.
    pub fn authority(&self) -> &str {
        &self.origin.url[self.scheme().as_str().len() + 3..]
    }

    /// What belongs into the request line or `:path`.
    pub fn path_and_query(&self) -> &str {
        &self.url[self.origin.url.len()..]
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        let both = self.path_and_query();
        both.split_once('?').map_or(both, |(path, _)| path)
    }

    /// The whole: what patterns are searched in.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// Methods are case-sensitive (RFC 9110 §9.1), but some servers fold them; so only upper case goes through.
fn is_canonical_method(method: &str) -> bool {
    let rest = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    method.len() <= METHOD_MAX && method.starts_with(|c: char| c.is_ascii_uppercase()) && method.bytes().all(rest)
}

/// Splits `host[:port]`. Also reads the `host:` of a YAML rule.
pub(super) fn split_authority(authority: &str) -> Result<(Host, Option<u16>), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::UserInfo);
    }
    // The colons of an IPv6 address are inside its brackets.
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_brackets..].split_once(':') {
        None => Ok((Host::parse(authority)?, None)),
        Some((before, port)) => {
            let host = &authority[..after_brackets + before.len()];
            Ok((Host::parse(host)?, Some(parse_port(port)?)))
        }
    }
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if !plain {
        return Err(TargetError::Port);
    }
    text.parse().map_err(|_| TargetError::Port)
}

#[cfg(test)]
mod tests;
