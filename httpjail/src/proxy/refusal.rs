//! What a client gets instead of what it asked for, in the form it asked for: text, JSON or a gRPC status.
//!
//! Every answer names the request and says whose decision it is, since what reads it is often a program (or a model)
//! that would otherwise try again for ever. Everything echoed is escaped.

use crate::policy::TargetError;
use crate::policy::rule_for_host;
use crate::proxy::http1::framing::Fault;
use crate::proxy::upstream::address::Class;
use crate::proxy::upstream::dial::DialError;
use crate::proxy::upstream::proxy_env::Parent;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use std::fmt::Write;

const MARK: HeaderName = HeaderName::from_static("x-httpjail");

/// Who is at fault, which gives the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The policy says no.
    Denied,
    /// The log cannot be written.
    Unlogged,
    /// There is no room for one request more.
    Busy,
    /// The request has no one canonical reading.
    Malformed,
    /// Its head or its trailers are too large.
    TooLarge,
    /// Its parts name different places.
    Mismatch,
    /// The client did not show that it may use the proxy.
    Unauthenticated,
    /// CONNECT and what else a transparent proxy does not do.
    Unsupported,
    /// The upstream failed.
    Upstream,
    /// The upstream has sent the request back unread, more than once or too late for us to send it again.
    Unread,
    /// The upstream took too long.
    TimedOut,
}

impl Kind {
    /// Status, value of `x-httpjail`, gRPC status (grpc/doc/statuscodes.md).
    fn codes(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::Denied => (StatusCode::FORBIDDEN, "deny", "7"),
            Kind::Unlogged => (StatusCode::SERVICE_UNAVAILABLE, "deny", "7"),
            Kind::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "8"),
            Kind::Malformed => (StatusCode::BAD_REQUEST, "malformed", "3"),
            Kind::TooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "malformed", "8"),
            Kind::Mismatch => (StatusCode::MISDIRECTED_REQUEST, "mismatch", "3"),
            Kind::Unauthenticated => (StatusCode::PROXY_AUTHENTICATION_REQUIRED, "unauthenticated", "16"),
            Kind::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "unsupported", "12"),
            Kind::Upstream | Kind::Unread => (StatusCode::BAD_GATEWAY, "upstream-error", "14"),
            Kind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "upstream-error", "4"),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Kind::Denied => {
                "This is the policy of the jail that this program runs in, not a fault: a retry will not help."
            }
            Kind::Unlogged => {
                "Nothing leaves the jail unlogged. Once the log can be written again, so can this be asked."
            }
            Kind::TooLarge => "httpjail takes no larger ones: a retry will not help.",
            Kind::Busy => "Once some of them are done, so can this be asked.",
            Kind::Malformed | Kind::Mismatch => {
                "httpjail refuses what two programs could read in two ways: a retry will not help."
            }
            Kind::Unauthenticated => "The proxy's URL, with its token, was printed when httpjail started.",
            Kind::Unsupported => "Everything in this jail is proxied already: connect as if there were no proxy.",
            Kind::Unread => "The policy allows this request, and nobody has acted on it: it is safe to repeat.",
            Kind::Upstream | Kind::TimedOut => {
                "The policy allows this request; its server is at fault, or the way there."
            }
        }
    }
}

/// A refusal: which kind, and why in words.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// The short stable phrase of the log.
    pub(crate) reason: &'static str,
    /// A sentence for the client.
    pub(crate) detail: String,
    /// A rule that names the host would have let it through; whether that is so for names too.
    names_host: Option<bool>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, reason: &'static str, detail: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            reason,
            detail: detail.into(),
            names_host: None,
        }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Malformed, "malformed request", detail)
    }

    pub(crate) fn mismatch(detail: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Mismatch, "host mismatch", detail)
    }

    /// Of a request that the server has not acted on, by its own word.
    pub(crate) fn unread() -> Refusal {
        let detail = "The server sent the request back unread: not processed; safe to repeat.";
        Refusal::new(Kind::Unread, "sent back unread", detail)
    }

    /// The same where the request was handed to another proxy: its fault, or that of what is behind it.
    pub(crate) fn on_the_way(self, parent: &Parent) -> Refusal {
        let detail = format!(
            "On the way through the proxy {parent}, which httpjail's own environment names: {}",
            self.detail
        );
        Refusal::new(self.kind, "upstream proxy", detail)
    }

    /// The answer to a request for `method` `url` with these header fields; `rule` is the one that decided, if one did.
    pub(crate) fn response(
        &self,
        method: &str,
        url: &str,
        rule: Option<&str>,
        request: &HeaderMap,
    ) -> Response<String> {
        let (status, mark, grpc) = self.kind.codes();
        let (method, url) = (escaped(method), escaped(url));
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(MARK, HeaderValue::from_static(mark));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthenticated {
            headers.insert(
                header::PROXY_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"httpjail\""),
            );
        }
        let of = |name| {
            request
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
                .unwrap_or_default()
        };
        if of(header::CONTENT_TYPE).starts_with("application/grpc") {
            // Trailers-Only: the status stands in the header block (grpc/doc/PROTOCOL-HTTP2.md).
            let message = percent_encoded(&format!(
                "httpjail: {method} {url}: {} {}",
                self.detail,
                self.kind.advice()
            ));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static(grpc));
            headers.extend(
                HeaderValue::try_from(message)
                    .ok()
                    .map(|m| (HeaderName::from_static("grpc-message"), m)),
            );
            *response.status_mut() = StatusCode::OK;
        } else if of(header::ACCEPT).contains("json") {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let json = serde_json::json!({
                "error": mark, "reason": self.reason, "detail": self.detail, "method": method, "url": url,
                "rule": rule, "advice": self.kind.advice(),
            });
            *response.body_mut() = format!("{json}\n");
        } else {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            );
            let body = response.body_mut();
            *body = format!("httpjail: {mark}: {}\n", self.detail);
            // Of bytes that were not understood there is neither.
            if !method.is_empty() {
                *body += &format!("\n  {method} {url}\n");
            }
            if let Some(rule) = rule {
                *body += &format!("  rule {}\n", escaped(rule));
            }
            if let Some(meant) = self.names_host.and_then(|is_private| rule_for_host(&url, is_private)) {
                *body += &format!("  that rule would be {}\n", escaped(&meant));
            }
            *body += &format!("\n{}\n", self.kind.advice());
        }
        response
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        let kind = match fault {
            Fault::TooLarge => Kind::TooLarge,
            _ => Kind::Malformed,
        };
        Refusal::new(
            kind,
            fault.reason(),
            format!("The bytes of the request: {}.", fault.words()),
        )
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Refusal {
        Refusal::malformed(error.to_string())
    }
}

impl From<DialError> for Refusal {
    fn from(error: DialError) -> Refusal {
        let (kind, reason) = match &error {
            DialError::Name(..) | DialError::NoAddress(_) => (Kind::Upstream, "name not resolved"),
            DialError::Address(_, class) => (Kind::Denied, class.as_str()),
            DialError::Itself(_) => (Kind::Denied, "the proxy itself"),
            DialError::Connect(..) => (Kind::Upstream, "connect failed"),
            DialError::Tls(..) => (Kind::Upstream, "certificate"),
            DialError::TimedOut(..) => (Kind::TimedOut, "timed out"),
            DialError::Parent(_, by) if matches!(**by, DialError::TimedOut(..)) => (Kind::TimedOut, "upstream proxy"),
            DialError::Parent(..) | DialError::ParentSays(..) | DialError::ParentWantsMore(_) => {
                (Kind::Upstream, "upstream proxy")
            }
        };
        Refusal {
            names_host: match &error {
                DialError::Address(_, class) => Some(*class == Class::Private),
                _ => None,
            },
            ..Refusal::new(kind, reason, format!("{error}."))
        }
    }
}

/// `text` with everything escaped that is no printable ASCII.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            ' '..='~' => out.push(char),
            _ => out.extend(char.escape_default()),
        }
    }
    out
}

/// The percent-encoding of `grpc-message`: everything but printable ASCII, and the percent sign.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: Kind, request: &[(HeaderName, &'static str)]) -> Response<String> {
        let request = request
            .iter()
            .map(|(n, v)| (n.clone(), HeaderValue::from_static(v)))
            .collect();
        let refusal = Refusal::new(kind, "why", "100% no.");
        refusal.response("GET", "https://a.test/\u{1b}[2J\u{9b}", Some("deny: \u{7}x"), &request)
    }

    #[test]
    fn forms() {
        let text = refused(Kind::Denied, &[]);
        insta::assert_snapshot!(text.body(), @r"
        httpjail: deny: 100% no.

          GET https://a.test/\u{1b}[2J\u{9b}
          rule deny: \u{7}x

        This is the policy of the jail that this program runs in, not a fault: a retry will not help.
        ");
        assert_eq!(
            (text.status().as_u16(), text.headers()[MARK].to_str().unwrap()),
            (403, "deny")
        );

        let json = refused(Kind::Denied, &[(header::ACCEPT, "application/vnd.x+json;q=0.9, */*")]);
        let value: serde_json::Value = serde_json::from_str(json.body()).unwrap();
        assert_eq!(value["url"], "https://a.test/\\u{1b}[2J\\u{9b}");
        assert_eq!(value["rule"], "deny: \u{7}x");
        assert_eq!(json.status(), 403);

        let grpc = refused(Kind::Denied, &[(header::CONTENT_TYPE, "application/grpc+proto")]);
        assert_eq!(grpc.status(), 200);
        assert_eq!(grpc.headers()["grpc-status"], "7");
        assert!(grpc.headers()["grpc-message"].to_str().unwrap().contains("100%25 no."));
        assert!(grpc.body().is_empty());
    }

    #[test]
    fn statuses() {
        let status = |kind| refused(kind, &[]).status().as_u16();
        let kinds = [
            Kind::Denied,
            Kind::Unlogged,
            Kind::Malformed,
            Kind::Mismatch,
            Kind::Upstream,
            Kind::TimedOut,
        ];
        assert_eq!(kinds.map(status), [403, 503, 400, 421, 502, 504]);
    }
}
