use http::Method;
use proptest::prelude::*;

use super::*;
use crate::net::Scheme;

pub(super) fn policy(rules: &[&str]) -> Policy {
    let rule = |(index, text): (usize, &&str)| Rule::parse(text, Source::Option(index + 1)).expect("a rule");
    Policy::new(rules.iter().enumerate().map(rule).collect())
}

pub(super) fn target(request: &str) -> Target {
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let at = rest.find('/').unwrap_or(rest.len());
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    Target::new(&method, scheme, &rest[..at], &rest[at..]).expect("a target")
}

const NO_MATCH: Verdict = Verdict::Deny(Reason::NoMatch);

fn allow(rule: usize) -> Verdict {
    Verdict::Allow(RuleId(rule))
}

fn deny(rule: usize) -> Verdict {
    Verdict::Deny(Reason::Rule(RuleId(rule)))
}

#[track_caller]
fn check(rules: &[&str], cases: &[(&str, Verdict)]) {
    let policy = policy(rules);
    for (request, verdict) in cases {
        assert_eq!(policy.judge(&target(request)), *verdict, "{request}");
    }
}

// Proves: H06.
#[test]
fn nothing_matched_is_denied() {
    check(&[], &[("https://a.test/", NO_MATCH)]);
    check(
        &[r"allow: ^https://a\.test/"],
        &[("https://a.test/", allow(0)), ("https://b.test/", NO_MATCH)],
    );
    assert!(policy(&[]).is_empty() && !policy(&["allow: ."]).is_empty());
}

#[test]
fn the_first_match_decides() {
    check(
        &[
            "deny: telemetry",
            r"allow-get: ^https://a\.test/",
            "deny-get: .*",
            "allow-post: .*",
        ],
        &[
            ("https://a.test/", allow(1)),
            ("https://a.test/telemetry", deny(0)),
            ("POST https://telemetry.test/", deny(0)),
            ("https://b.test/", deny(2)),
            ("POST https://b.test/", allow(3)),
            ("PUT https://b.test/", NO_MATCH),
        ],
    );
}

#[test]
fn the_canonical_form_is_judged() {
    check(
        &[r"deny: ^https://a\.test/admin", r"allow: ^https://a\.test/"],
        &[
            ("https://A.TEST/x/%2e%2e/%61dmin", deny(0)),
            ("https://a.test.:443/./admin", deny(0)),
            ("https://a.test/x/../y", allow(1)),
            ("https://a.test:444/", NO_MATCH),
            ("http://a.test/", NO_MATCH),
        ],
    );
}

#[test]
fn rules_are_found_again() {
    let policy = policy(&["allow: a", "deny: b"]);
    assert_eq!(
        policy.rule(RuleId(1)).map(ToString::to_string).as_deref(),
        Some("deny: b")
    );
    assert!(policy.rule(RuleId(2)).is_none());
    assert_eq!(
        policy.rules().map(|(id, _)| id).collect::<Vec<_>>(),
        [RuleId(0), RuleId(1)]
    );
}

#[test]
fn shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Policy>();
    shared::<Target>();
}

proptest! {
    /// Rules read in any order of texts give the verdict of the first that matches, whichever it is.
    #[test]
    fn order_is_all(order in Just(vec!["allow: a", "deny-get: b", "allow-post: c", "deny: d"]).prop_shuffle(), path in "[a-e]{0,4}", post: bool) {
        let request = format!("{} https://x.test/{path}", if post { "POST" } else { "GET" });
        // The host has none of the letters but the `t`, `e`, `s`, `x`.
        let matching = |rule: &&str| {
            let letter = rule.chars().last().unwrap_or_default();
            let of_this_method = if post { !rule.contains("-get") } else { !rule.contains("-post") };
            path.contains(letter) && of_this_method
        };
        let expected = match order.iter().position(matching) {
            None => NO_MATCH,
            Some(place) if order[place].starts_with("allow") => allow(place),
            Some(place) => deny(place),
        };
        prop_assert_eq!(policy(&order).judge(&target(&request)), expected);
    }
}

// Proves: S17, H20.
#[test]
fn only_a_pinned_allow_rule_names_loopback() {
    let cases = [
        (r"allow: ^http://localhost(:\d+)?/", true),
        (r"allow-get: ^https?://127\.0\.0\.1:3000/", true),
        (r"allow: ^http://\[::1\]/", true),
        (r"deny: ^http://localhost/", false),
        ("allow: .*", false),
        ("allow: localhost", false),
        (r"allow: ^https://a\.test/\?localhost", false),
    ];
    for (rule, expected) in cases {
        assert_eq!(policy(&[rule]).names_loopback(), expected, "{rule}");
    }
}

/// What the documentation that httpjail set out from says of its examples, in its words.
#[test]
fn the_documented_examples() {
    // "Allow all methods to github.com"; and, as in the example with git, nothing else.
    check(
        &[r"allow: github\.com", "deny: .*"],
        &[
            ("https://github.com/user/repo", allow(0)),
            ("POST https://github.com/user/repo/git-upload-pack", allow(0)),
            ("DELETE https://api.github.com/x", allow(0)),
            ("https://githubxcom.test/", deny(1)),
            ("https://example.com/", deny(1)),
        ],
    );
    // "Allow only GET requests to api.*"
    check(
        &[r"allow-get: api\..*"],
        &[
            ("https://api.example.com/v1", allow(0)),
            ("https://API.example.com/v1", allow(0)),
            ("POST https://api.example.com/v1", NO_MATCH),
            ("HEAD https://api.example.com/v1", NO_MATCH),
            ("https://www.example.com/", NO_MATCH),
        ],
    );
    // "Deny POST requests to telemetry.*"
    check(
        &[r"deny-post: telemetry\..*", "allow: .*"],
        &[
            ("POST https://telemetry.example.com/", deny(0)),
            ("https://telemetry.example.com/", allow(1)),
            ("POST https://telemetry-example.com/", allow(1)),
        ],
    );
    // "Deny everything (usually last rule)"
    check(
        &["deny: .*"],
        &[("https://a.test/", deny(0)), ("OPTIONS http://a.test:8080/", deny(0))],
    );
    // "Deny telemetry while allowing everything else"
    check(
        &["deny: telemetry", "allow: .*"],
        &[
            ("https://telemetry.example.com/", deny(0)),
            ("POST https://example.com/telemetry/v2?x", deny(0)),
            ("https://example.com/TELEMETRY", allow(1)),
            ("https://example.com/", allow(1)),
        ],
    );
    // The rules of its configuration file.
    check(
        &[
            r"allow: github\.com",
            r"allow: api\..*\.com",
            "deny: telemetry",
            "deny: .*",
        ],
        &[
            ("PUT https://github.com/telemetry", allow(0)),
            ("PATCH https://api.example.com/telemetry", allow(1)),
            ("https://api.example.org/telemetry", deny(2)),
            ("https://api.example.org/", deny(3)),
        ],
    );
    // "Rules are evaluated in the order specified."
    check(&["allow: .*", "deny: .*"], &[("https://a.test/", allow(0))]);
    check(&["deny: .*", "allow: .*"], &[("https://a.test/", deny(0))]);
    // Each action with each method.
    for method in [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PATCH",
    ] {
        let (allows, denies) = (
            format!("allow-{}: .*", method.to_lowercase()),
            format!("deny-{}: .*", method.to_lowercase()),
        );
        let request = format!("{method} https://a.test/");
        check(
            &[&denies, "allow: .*"],
            &[(&request, deny(0)), ("PURGE https://a.test/", allow(1))],
        );
        check(&[&allows], &[(&request, allow(0)), ("PURGE https://a.test/", NO_MATCH)]);
    }
}
