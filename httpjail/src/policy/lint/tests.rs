use super::warnings::WALKED_MAX;
use super::*;
use crate::policy::{Action, Matcher, Methods, Place, Rule, RuleId, Source};

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

// Proves: H05.
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

/// Each finding of the rules: its kind, the rule's place, the request that shows it, and what to write or do.
#[track_caller]
fn found(rules: &[&str], wanted: &[(Kind, usize, &str, &str)]) {
    let policy = crate::policy::tests::policy(rules);
    let (findings, left_out) = findings(&policy);
    assert_eq!(left_out, 0);
    let found: Vec<(Kind, usize, &str, &str)> = findings
        .iter()
        .map(|finding| {
            let advice = finding.mended.as_deref().or(finding.hint.as_deref());
            (
                finding.kind,
                finding.rule.0,
                finding.request.as_deref().unwrap_or_default(),
                advice.unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(found, wanted, "{rules:?}");
    // What shows it is what it says: the rule finds it, and an earlier one does if that is what is wrong.
    for finding in &findings {
        let Some(request) = &finding.request else { continue };
        let target = crate::policy::tests::target(request);
        let rule = policy.rule(finding.rule).expect("a rule");
        assert!(rule.matches(&target), "{request}");
        let decides = match policy.judge(&target) {
            Verdict::Allow(id) | Verdict::Deny(Reason::Rule(id)) => id,
            Verdict::Deny(Reason::NoMatch) => panic!("{request}"),
        };
        let overtaken = matches!(finding.kind, Kind::Shadowed | Kind::LateDeny);
        assert_eq!(decides < finding.rule, overtaken, "{request}");
        // The mended rule does not find it.
        if let Some(mended) = &finding.mended {
            let mended = Rule::parse(mended, Source::Option(1)).expect("a rule");
            assert!(!mended.matches(&target), "{mended} {request}");
        }
    }
}

#[test]
fn nothing_wrong() {
    found(&[], &[]);
    found(&["allow: .*"], &[]);
    found(&["deny: telemetry", "allow: .*"], &[]);
    found(
        &[
            r"allow-get: ^https://a\.test/",
            r"allow-post: ^https://a\.test/",
            r"deny: ^https://a\.test/",
            "allow: .*",
        ],
        &[],
    );
    found(
        &[r"allow: ^https://a\.test/x", r"deny: ^https://a\.test/", "deny: .*"],
        &[],
    );
}

// Proves: H05.
#[test]
fn unpinned_and_loose() {
    found(
        &["allow-get: github.com"],
        &[(
            Kind::Unpinned,
            0,
            "GET https://evil.example/?github.com",
            r"allow-get: ^https://github\.com/",
        )],
    );
    found(
        &["deny-post: telemetry.example.com"],
        &[(
            Kind::LooseDot,
            0,
            "POST https://telemetryaexample/com",
            r"deny-post: telemetry\.example\.com",
        )],
    );
    found(&[r"deny: \d.x"], &[]);
}

#[test]
fn never_reached() {
    found(
        &["allow: .*", "deny-get: telemetry"],
        &[(
            Kind::LateDeny,
            1,
            "GET https://telemetry/",
            "put it before rule `allow: .*` (-r 1)",
        )],
    );
    found(
        &["allow-get: .*", "deny: telemetry"],
        &[(
            Kind::LateDeny,
            1,
            "GET https://telemetry/",
            "put it before rule `allow-get: .*` (-r 1)",
        )],
    );
    found(
        &["deny: .*", r"allow: ^https://a\.test/"],
        &[(
            Kind::Shadowed,
            1,
            "GET https://a.test/",
            "put it before rule `deny: .*` (-r 1), or remove it",
        )],
    );
    found(
        &[r"deny: ^https://[^/]*\.test/", r"allow-post: ^https://(a|b)\.test/x"],
        &[(
            Kind::Shadowed,
            1,
            "POST https://a.test/x",
            r"put it before rule `deny: ^https://[^/]*\.test/` (-r 1), or remove it",
        )],
    );
    found(
        &[r"allow: ^https?://a\.test/", r"allow: ^https://a\.test/x"],
        &[(
            Kind::Shadowed,
            1,
            "GET https://a.test/x",
            "remove it: it changes nothing",
        )],
    );
}

#[test]
fn dead_ones_are_spelled_anew() {
    found(
        &[
            "allow: GET https://a\\.test/",
            r"deny: ^https://GitHub\.com/",
            r"allow: ^https://a\.test$",
        ],
        &[
            (Kind::Method, 0, "", r"allow-get: https://a\.test/"),
            (Kind::Dead, 1, "", r"deny: ^https://github\.com/"),
            (Kind::Dead, 2, "", r"allow: ^https://a\.test/"),
        ],
    );
}

#[test]
fn places_shadow_and_are_shadowed() {
    let place = |action, host, path| {
        let matcher = Matcher::Place(Place::new(host, path).expect("a place"));
        Rule::new(action, Methods::EVERY, matcher, Source::Option(1))
    };
    let kinds = |rules| -> Vec<(Kind, usize)> {
        let (findings, _) = findings(&Policy::new(rules));
        findings.iter().map(|finding| (finding.kind, finding.rule.0)).collect()
    };
    let wide = || place(Action::Deny, "*.a.test", None);
    let narrow = || place(Action::Allow, "x.a.test", Some("/y*"));
    assert_eq!(kinds(vec![wide(), narrow()]), [(Kind::Shadowed, 1)]);
    assert_eq!(kinds(vec![narrow(), wide()]), []);
    assert_eq!(kinds(vec![wide(), place(Action::Allow, "a.test", None)]), []);
}

#[test]
fn rules_without_a_request() {
    let policy = crate::policy::tests::policy(&["deny: telemetry", r"allow: ^https://a\.test/", "allow-post: .*"]);
    let seen = ["https://a.test/x", "https://b.test/"].map(crate::policy::tests::target);
    let found = unused(&policy, &seen);
    let found: Vec<_> = found.iter().map(|f| (f.rule.0, f.request.as_deref())).collect();
    assert_eq!(
        found,
        [(0, Some("GET https://telemetry/")), (2, Some("POST https://a/"))]
    );
}

/// Whatever is said to be never reached is not: no request that it matches is decided by it.
mod proofs_hold {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn against_requests(
            rules in proptest::collection::vec((any::<bool>(), select(vec!["", "-get"]), proptest::collection::vec(select(vec![
                "^https?://", "^https://", r"a\.test", r"[^/]*\.test", "a.test", "/", "x", "[xy]", ".*", ".", "$", "|", "(?i)X", r"(\?|$)",
            ]), 1..5)), 2..5)
        ) {
            let rules: Vec<String> = rules
                .into_iter()
                .map(|(allow, method, parts)| format!("{}{method}: {}", if allow { "allow" } else { "deny" }, parts.concat()))
                .filter(|rule| Rule::parse(rule, Source::Option(1)).is_ok())
                .collect();
            let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
            let policy = crate::policy::tests::policy(&texts);
            let (findings, _) = findings(&policy);
            let dead: Vec<RuleId> = findings.iter().filter(|f| matches!(f.kind, Kind::Shadowed | Kind::Dead)).map(|f| f.rule).collect();
            for host in ["a.test", "aatest", "b.test", "x", "a", "x.a.test:8443", "xa.test"] {
                for path in ["/", "/x", "/y", "/X", "/?x", "/x/y.test/", "/?https://a.test/x", "/a.test"] {
                    for method in ["GET", "PUT"] {
                        let target = crate::policy::tests::target(&format!("{method} https://{host}{path}"));
                        if let Verdict::Allow(id) | Verdict::Deny(Reason::Rule(id)) = policy.judge(&target) {
                            prop_assert!(!dead.contains(&id), "{texts:?} {target}");
                        }
                    }
                }
            }
        }
    }
}
