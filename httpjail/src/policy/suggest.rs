//! Suggests the rule that allows one request and little else: pinned to scheme and host, with the method and the path.
//!
//! Hints show it, and `learn` makes its rules in the same way. The query is left out on purpose, because queries carry
//! secrets.

use super::methods::Methods;
use super::target::split_authority;

/// A longer path is not shown in a rule; the rule is then for the whole host.
const PATH_MAX: usize = 150;

/// Returns a rule such as `allow-get: ^https://api\.test/users(\?|$)` for this canonical URL, and `None` for other text.
pub fn suggest_rule(method: &str, url: &str) -> Option<String> {
    let (scheme, authority, path) = split(url)?;
    let methods = Methods::parse(method).unwrap_or(Methods::EVERY);
    let (bare, _query) = path.split_once('?').unwrap_or((path, ""));
    let place = format!("^{scheme}://{}", literal(authority));
    Some(if bare.len() > PATH_MAX {
        format!("allow{methods}: {place}/")
    } else {
        format!("allow{methods}: {place}{}{}", literal(bare), end(true, true))
    })
}

/// Returns the rule that names the host of this URL, for an address that only such a rule may reach. `None` if no rule helps:
/// a name may resolve to a private network, but not to this host or its link.
pub fn suggest_rule_for_host(url: &str, is_private: bool) -> Option<String> {
    let (scheme, authority, _) = split(url)?;
    let (host, _) = split_authority(authority).ok()?;
    let led = is_private || host.as_name().is_none_or(|name| name == "localhost");
    led.then(|| format!("allow: ^{scheme}://{}/", literal(authority)))
}

/// Scheme, authority, and path with query of a canonical URL.
pub(super) fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    // `*` stands in place of a path in one kind of request only (RFC 9112 section 3.2.4).
    let start = rest.find(['/', '*'])?;
    let (authority, path) = rest.split_at(start);
    (!authority.is_empty()).then_some((scheme, authority, path))
}

/// Returns a pattern that matches `text` alone. It undoes the escapes that only matter inside brackets.
pub(crate) fn literal(text: &str) -> String {
    let mut out = regex_syntax::escape(text);
    for plain in ["-", "&", "~"] {
        out = out.replace(&format!("\\{plain}"), plain);
    }
    out
}

/// What ends a pattern after the path, for requests that come without a query, with one, or both.
pub(super) fn end(without: bool, with: bool) -> &'static str {
    match (without, with) {
        (_, false) => "$",
        (false, true) => r"\?",
        (true, true) => r"(\?|$)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Scheme;
    use crate::policy::{Pin, Rule, Source, Target};
    use http::Method;

    #[track_caller]
    fn check(method: &str, authority: &str, path: &str, expected: &str, not: &[(&str, &str)]) {
        let made = |method: &str, path: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            Target::new(&method, Scheme::Https, authority, path).expect("a target")
        };
        let target = made(method, path);
        let text = suggest_rule(method, target.url()).expect("a rule");
        assert_eq!(text, expected);
        let rule = Rule::parse(&text, Source::Option(1)).expect("a rule that can be read");
        assert!(rule.matches(&target), "{text} {}", target.url());
        assert!(matches!(rule.pin(), Pin::Hosts(hosts) if hosts.len() == 1), "{text}");
        for (method, path) in not {
            assert!(!rule.matches(&made(method, path)), "{text} {method} {path}");
        }
    }

    #[test]
    fn the_rule_for_one_request() {
        check(
            "GET",
            "api.test",
            "/a-b/c.d?token=x",
            r"allow-get: ^https://api\.test/a-b/c\.d(\?|$)",
            &[("POST", "/a-b/c.d"), ("GET", "/a-b/cxd"), ("GET", "/a-b/c.d/e")],
        );
        check(
            "PUT",
            "a.test:8443",
            "/",
            r"allow-put: ^https://a\.test:8443/(\?|$)",
            &[("PUT", "/x")],
        );
        check(
            "GET",
            "[::1]:3000",
            "/(x)",
            r"allow-get: ^https://\[::1\]:3000/\(x\)(\?|$)",
            &[("GET", "/x")],
        );
        check(
            "PROPFIND",
            "a.test",
            "/it's",
            r"allow: ^https://a\.test/it's(\?|$)",
            &[("GET", "/its")],
        );
        check(
            "OPTIONS",
            "a.test",
            "*",
            r"allow-options: ^https://a\.test\*(\?|$)",
            &[("OPTIONS", "/")],
        );
        check(
            "GET",
            "a.test",
            &format!("/{}", "x".repeat(200)),
            r"allow-get: ^https://a\.test/",
            &[],
        );
    }

    #[test]
    fn the_rule_that_names_a_host() {
        let rule = |url: &str, is_private| suggest_rule_for_host(url, is_private).unwrap_or_default();
        assert_eq!(rule("http://10.0.0.1/x?y", true), r"allow: ^http://10\.0\.0\.1/");
        assert_eq!(rule("https://a.corp:8443/x", true), r"allow: ^https://a\.corp:8443/");
        assert_eq!(rule("http://localhost:3000/", false), "allow: ^http://localhost:3000/");
        assert_eq!(rule("http://[::1]:3000/", false), r"allow: ^http://\[::1\]:3000/");
        assert_eq!(rule("http://a.test/", false), "");
    }

    #[test]
    fn what_is_no_url_has_no_rule() {
        for url in ["", "a.test:443", "https://", "https:///x", "https://a.test"] {
            assert_eq!(suggest_rule("GET", url), None, "{url}");
        }
    }
}
