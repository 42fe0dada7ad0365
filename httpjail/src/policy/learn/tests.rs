use http::Method;

use super::*;
use crate::net::Scheme;
use crate::policy::{Action, Matcher, Methods, Pattern, Policy, Rule, Source, Target, Verdict};

fn learn(requests: &[(&str, &str)]) -> Vec<LearnedRule> {
    let mut learner = Learner::default();
    for (method, url) in requests {
        learner.see(method, url, Some("curl"), None);
    }
    learner.rules()
}

fn policy(learned: &[LearnedRule]) -> Policy {
    let rule = |learned: &LearnedRule| {
        let methods = learned
            .methods
            .iter()
            .map(|method| Methods::parse(method).expect("a method"));
        let methods = methods.reduce(Methods::and).expect("some methods");
        let pattern = Pattern::new(&learned.pattern).expect("a pattern");
        Rule::new(Action::Allow, methods, Matcher::Pattern(pattern), Source::Option(1))
    };
    Policy::new(learned.iter().map(rule).collect())
}

fn allows(policy: &Policy, method: &str, url: &str) -> bool {
    let (scheme, host, path) = suggest::split(url).expect("a URL");
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let target = Target::new(&method, scheme, host, path).expect("a target");
    matches!(policy.judge(&target), Verdict::Allow(_))
}

#[track_caller]
fn check(requests: &[(&str, &str)], patterns: &[&str]) {
    let rules = learn(requests);
    let learned: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    assert_eq!(learned, patterns);
    let policy = policy(&rules);
    for (method, url) in requests {
        assert!(allows(&policy, method, url), "{method} {url}");
    }
}

#[test]
fn one_rule_a_place() {
    check(
        &[("GET", "https://a.test/x"), ("POST", "https://a.test/x")],
        &[r"^https://a\.test/x$"],
    );
    check(
        &[("GET", "https://a.test/x/1"), ("GET", "https://a.test/x/22")],
        &[r"^https://a\.test/x/[0-9]+$"],
    );
    check(
        &[
            ("GET", "https://b.test/"),
            ("GET", "http://a.test:8080/"),
            ("GET", "https://a.test/x/"),
        ],
        &[
            r"^https://a\.test/x/$",
            r"^http://a\.test:8080/$",
            r"^https://b\.test/$",
        ],
    );
    check(&[("OPTIONS", "https://a.test*")], &[r"^https://a\.test\*$"]);
    check(&[("CONNECT", "https://[::1]/")], &[r"^https://\[::1\]/$"]);
}

#[test]
fn the_query_is_free_where_there_was_one() {
    check(&[("GET", "https://a.test/x?q=1")], &[r"^https://a\.test/x\?"]);
    check(
        &[("GET", "https://a.test/x?q=1"), ("GET", "https://a.test/x")],
        &[r"^https://a\.test/x(\?|$)"],
    );
}

#[test]
fn many_names_are_any_name() {
    let urls: Vec<String> = (0..=NAMES_MAX)
        .map(|n| {
            format!(
                "https://r.test/{0}x/-/{0}x-1.0.{n}.tgz",
                char::from(b'a' + u8::try_from(n).expect("few"))
            )
        })
        .collect();
    let requests: Vec<(&str, &str)> = urls.iter().map(|url| ("GET", url.as_str())).collect();
    check(&requests, &[r"^https://r\.test/[^/?]+/-/[^/?]+\.tgz$"]);
    assert_eq!(
        learn(&requests[1..]).len(),
        NAMES_MAX,
        "as many as can be read are listed"
    );
}

#[test]
fn what_was_not_asked_for_stays_denied() {
    let rules = learn(&[("GET", "https://a.test/x/1"), ("GET", "https://a.test/q?a=b")]);
    let policy = policy(&rules);
    for (method, url) in [
        ("POST", "https://a.test/x/1"),
        ("GET", "http://a.test/x/1"),
        ("GET", "https://a.test/x/y"),
        ("GET", "https://a.test/x/1?leak"),
        ("GET", "https://a.test/x/1/2"),
        ("GET", "https://a.test/q"),
        ("GET", "https://a.test.evil.test/x/1"),
        ("GET", "https://evil.test/?https://a.test/x/1"),
        ("GET", "https://a.test:8443/x/1"),
    ] {
        assert!(!allows(&policy, method, url), "{method} {url}");
    }
}

#[test]
fn what_only_failed_is_marked() {
    let failures = |failures: &[Option<&str>]| {
        let mut learner = Learner::default();
        for failure in failures {
            learner.see("GET", "https://a.test/", None, *failure);
        }
        learner.rules()[0].failure.clone()
    };
    assert_eq!(
        failures(&[Some("connect failed"), Some("timed out")]).as_deref(),
        Some("connect failed")
    );
    assert_eq!(failures(&[Some("connect failed"), None]), None);
    assert_eq!(failures(&[None, Some("connect failed")]), None);
}

#[test]
fn memory_is_bounded() {
    let mut learner = Learner::default();
    for n in 0..2 * NODES_MAX {
        learner.see("GET", &format!("https://a.test/{}/x{n}y", n % 3), None, None);
    }
    for n in 0..HOSTS_MAX + 5 {
        learner.see("GET", &format!("https://h{n}.test/"), None, None);
    }
    assert!(learner.nodes <= NODES_MAX && learner.hosts.len() <= HOSTS_MAX);
    assert_eq!(learner.left_out(), 6, "one host was there before");
    let policy = policy(&learner.rules());
    assert!(allows(
        &policy,
        "GET",
        &format!("https://a.test/1/x{}y", 2 * NODES_MAX - 2)
    ));
    assert!(!allows(&policy, "POST", "https://a.test/1/x1y"));
}
