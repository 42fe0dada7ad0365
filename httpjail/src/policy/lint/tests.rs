use super::*;
use crate::policy::rule::Source;

fn policy(rule: &str) -> Policy {
    Policy::new(vec![Rule::parse(rule, Source::Option(1)).expect("a rule")])
}

/// The warning's message and hint; nothing if there is none.
fn warned(rule: &str) -> Option<(String, String)> {
    let mut found = warnings(&policy(rule));
    assert!(found.len() <= 1, "{found:?}");
    found
        .pop()
        .map(|warning| (warning.message, warning.hint.unwrap_or_default()))
}

#[test]
fn unpinned_rules_show_a_url_and_the_pinned_spelling() {
    for (rule, url, hint) in [
        (
            r"allow: github\.com",
            "https://evil.example/?github.com",
            r"write `allow: ^https://github\.com/`",
        ),
        (
            r"allow-get: github\.com",
            "https://evil.example/?github.com",
            r"write `allow-get: ^https://github\.com/`",
        ),
        (
            "allow: github.com",
            "https://evil.example/?github.com",
            r"write `allow: ^https://github\.com/`",
        ),
        (
            r"allow: https://github\.com/x",
            "https://evil.example/?https://github.com/x",
            r"write `allow: ^https://github\.com/x`",
        ),
        (
            r"allow: ^https?://a\.com",
            "https://a.com.evil.example/",
            r"write `allow: ^https?://a\.com/`",
        ),
        (
            r"allow: ^http://a\.com",
            "http://a.com.evil.example/",
            r"write `allow: ^http://a\.com/`",
        ),
        (
            r"allow: ^https://.*\.a\.com/",
            "https://evil.example/?.a.com/",
            r"write `allow: ^https://[^/]*\.a\.com/`",
        ),
        (
            "allow: ^https://api.github.com/",
            "https://apixgithub.com/",
            r"write `allow: ^https://api\.github\.com/`",
        ),
    ] {
        let (message, found) = warned(rule).unwrap_or_else(|| panic!("{rule}: no warning"));
        assert_eq!(
            message,
            format!("rule `{rule}` (-r 1) is not pinned to a host: it also allows {url}")
        );
        assert_eq!(found, hint, "{rule}");
    }
    for rule in [
        r"allow: api\..*\.com",
        "allow: telemetry",
        "allow: ^https://[^/]*a.com/",
    ] {
        let (message, hint) = warned(rule).unwrap_or_else(|| panic!("{rule}: no warning"));
        assert!(
            message.contains("it also allows https://") && hint.starts_with("begin the pattern"),
            "{rule}: {message} {hint}"
        );
    }
}

#[test]
fn the_pinned_spelling_gives_no_warning() {
    for rule in [
        r"allow: ^https://github\.com/",
        r"allow: ^https?://github\.com(:\d+)?/",
        r"allow: ^https://[^/]*\.a\.com/",
        r"allow: ^https://(api|www)\.github\.com/repos",
        r"allow: ^http://localhost[:/]",
    ] {
        assert_eq!(warned(rule), None, "{rule}");
    }
}

#[test]
fn everything_on_purpose_is_not_nagged_about() {
    for rule in [
        "allow: .*",
        "allow-get: .*",
        "allow: .",
        "allow: ^",
        "allow: .+",
        "allow: ^.*$",
        "allow: ^https?://",
        "allow: ^https://.*",
    ] {
        assert_eq!(warned(rule), None, "{rule}");
    }
    for rule in ["allow: http", "allow: /", "allow: x?", "allow: :"] {
        let (message, _) = warned(rule).unwrap_or_else(|| panic!("{rule}: no warning"));
        assert_eq!(message, format!("rule `{rule}` (-r 1) allows every URL"));
    }
}

#[test]
fn deny_rules_may_match_anywhere() {
    for rule in ["deny: telemetry", "deny: .*", r"deny: github\.com"] {
        assert_eq!(warned(rule), None, "{rule}");
    }
}

#[test]
fn rules_that_match_nothing() {
    for rule in [
        "deny: ^https://GitHub\\.com/",
        "allow: ^github\\.com",
        "deny: ^https://a\\.test$",
        "allow: ^https://bücher\\.test/",
    ] {
        let (message, _) = warned(rule).unwrap_or_else(|| panic!("{rule}: no warning"));
        assert_eq!(message, format!("rule `{rule}` (-r 1) can match no request"));
    }
}

#[test]
fn what_nobody_sees_without_interception() {
    for (rule, what) in [
        (r"allow: ^https://a\.test/", None),
        ("allow: .*", None),
        ("deny: telemetry", None),
        (r"allow-connect: ^https://a\.test/", None),
        (r"allow: ^http://a\.test/x", None),
        (r"allow-get: ^http://a\.test/x", None),
        (r"allow-get: ^http://(a|b)\.test/x", None),
        (r"allow-get: ^https://a\.test/", Some("a method,")),
        (r"deny: ^https://a\.test/admin", Some("a path,")),
        (r"allow-post: ^https://a\.test/x", Some("a method and a path,")),
    ] {
        let found = unjudgeable_without_interception(&policy(rule));
        assert_eq!(found.len(), usize::from(what.is_some()), "{rule}");
        if let (Some(what), Some(warning)) = (what, found.first()) {
            assert!(
                warning.message.contains(&format!("asks for {what}")),
                "{rule}: {warning}"
            );
        }
    }
}

#[test]
fn a_large_policy_says_what_was_not_looked_at() {
    let rules = |count: usize| {
        let rule = |index| Rule::parse(r"allow: ^https://a\.test/", Source::Option(index + 1)).expect("a rule");
        Policy::new((0..count).map(rule).collect())
    };
    assert_eq!(warnings(&rules(WALKED_MAX)), []);
    let found = warnings(&rules(WALKED_MAX + 1));
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("only the first 200 patterns"), "{found:?}");
}
