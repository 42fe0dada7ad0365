//! Turns a refusal into a response in the form that the client asked for: text, JSON or a gRPC status.
//!
//! Every answer names the request and says that httpjail decided, because its reader is often a program (or a model)
//! that would otherwise try again for ever. Everything echoed is escaped.

use crate::policy::suggest_rule_for_host;
use crate::proxy::refusal::{Kind, Refusal};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What `grpc-message` escapes: everything but printable ASCII, and the percent sign.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

const MARK: HeaderName = HeaderName::from_static("x-httpjail");

/// The form of a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Text,
    Json,
    Grpc,
}

impl Form {
    /// Returns the form that a request asks for.
    pub(crate) fn of(request: &HeaderMap) -> Form {
        let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc")) {
            Form::Grpc
        } else if text(header::ACCEPT).is_some_and(|kinds| kinds.contains("json")) {
            Form::Json
        } else {
            Form::Text
        }
    }
}

/// The answer to a request for `method` `url`, in this `form`; `rule` is the one that decided, if one did.
pub(crate) fn response(refusal: &Refusal, method: &str, url: &str, rule: Option<&str>, form: Form) -> Response<String> {
    let (status, mark, grpc) = refusal.kind.codes();
    let (method, url) = (escaped(method), escaped(url));
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(MARK, HeaderValue::from_static(mark));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if refusal.kind == Kind::Unauthenticated {
        headers.insert(
            header::PROXY_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"httpjail\""),
        );
    }
    if form == Form::Grpc {
        // Trailers-Only: the status stands in the header block (grpc/doc/PROTOCOL-HTTP2.md).
        let words = format!("httpjail: {method} {url}: {} {}", refusal.detail, refusal.kind.advice());
        let message = utf8_percent_encode(&words, GRPC_MESSAGE).to_string();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(grpc));
        headers.extend(
            HeaderValue::try_from(message)
                .ok()
                .map(|m| (HeaderName::from_static("grpc-message"), m)),
        );
        *response.status_mut() = StatusCode::OK;
    } else if form == Form::Json {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let json = serde_json::json!({
            "error": mark, "reason": refusal.reason, "detail": refusal.detail, "method": method, "url": url,
            "rule": rule, "advice": refusal.kind.advice(),
        });
        *response.body_mut() = format!("{json}\n");
    } else {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        let body = response.body_mut();
        *body = format!("httpjail: {mark}: {}\n", refusal.detail);
        // A request that could not be parsed has no method or URL.
        if !method.is_empty() {
            *body += &format!("\n  {method} {url}\n");
        }
        if let Some(rule) = rule {
            *body += &format!("  rule {}\n", escaped(rule));
        }
        if let Some(meant) = refusal
            .names_host
            .and_then(|is_private| suggest_rule_for_host(&url, is_private))
        {
            *body += &format!("  that rule would be {}\n", escaped(&meant));
        }
        *body += &format!("\n{}\n", refusal.kind.advice());
    }
    response
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
            Kind::Unlogged => "Nothing leaves the jail unlogged. Try again when the log can be written.",
            Kind::TooLarge => "httpjail accepts no larger ones: a retry will not help.",
            Kind::Busy => "Try again when some of them are done.",
            Kind::Malformed | Kind::Mismatch => {
                "httpjail refuses what two programs could read in two ways: a retry will not help."
            }
            Kind::Unauthenticated => "The proxy's URL, with its token, was printed when httpjail started.",
            Kind::Unsupported => "Everything in this jail is proxied already: connect as if there were no proxy.",
            Kind::Unread => "The policy allows this request, and the server has not acted on it: it is safe to repeat.",
            Kind::Upstream | Kind::TimedOut => {
                "The policy allows this request; the server or the network on the way to it failed."
            }
        }
    }
}

/// Returns `text` with everything escaped that is not printable ASCII.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: Kind, request: &[(HeaderName, &'static str)]) -> Response<String> {
        let request = request.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v)));
        let form = Form::of(&request.collect());
        let refusal = Refusal::new(kind, "why", "100% no.");
        response(
            &refusal,
            "GET",
            "https://a.test/\u{1b}[2J\u{9b}",
            Some("deny: \u{7}x"),
            form,
        )
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
