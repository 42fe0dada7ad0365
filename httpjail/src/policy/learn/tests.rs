use std::collections::HashSet;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::net::Scheme;
use crate::policy::{Policy, Target, Verdict, yaml};

fn learn(requests: &[(&str, &str)]) -> Vec<Learnt> {
    let mut learner = Learner::default();
    for (method, url) in requests {
        learner.see(method, url, Some("curl"), None);
    }
    learner.rules()
}

fn policy(text: &str) -> Policy {
    Policy::new(yaml::parse("learnt.yaml", text).expect("a policy").rules)
}

fn allows(policy: &Policy, method: &str, url: &str) -> bool {
    let (scheme, host, path) = spell::split(url).expect("a URL");
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let target = Target::new(&method, scheme, host, path).expect("a target");
    matches!(policy.judge(&target), Verdict::Allow(_))
}

#[track_caller]
fn check(requests: &[(&str, &str)], patterns: &[&str]) {
    let rules = learn(requests);
    let learnt: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    assert_eq!(learnt, patterns);
    let policy = policy(&document(&[], &rules).expect("a document"));
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
    let policy = policy(&document(&[], &rules).expect("a document"));
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
fn a_document_to_read() {
    let mut learner = Learner::default();
    for version in ["1.3.0", "1.3.1"] {
        let url = format!("https://registry.test/left-pad/-/left-pad-{version}.tgz");
        learner.see("GET", &url, Some("node"), None);
    }
    learner.see("GET", "https://registry.test/it's", Some("npm install"), None);
    learner.see("PROPFIND", "https://dav.test/", None, Some("connect failed"));
    let text = document(&["Learnt from npm.".into()], &learner.rules()).expect("a document");
    insta::assert_snapshot!(text, @r"
    # Learnt from npm.
    rules:
      # dav.test
      - action: allow # 1 request, failed: connect failed
        # every method: a rule cannot name all that were used
        pattern: '^https://dav\.test/$'

      # registry.test
      - action: allow # 1 request by npm install
        methods: [get]
        pattern: '^https://registry\.test/it''s$'
      - action: allow # 2 requests by node
        methods: [get]
        pattern: '^https://registry\.test/left-pad/-/left-pad-[0-9][^/?]*\.tgz$'
    ");
    assert_eq!(document(&[], &[]).expect("a document"), "rules: []\n");
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
fn rules_are_added_to_those_that_are_there() {
    let new = learn(&[("GET", "https://new.test/")]);
    let check = |text: &str, expected: &[&str]| {
        let added = add_to(text, &new).expect("a longer file");
        let file = yaml::parse("", &added).expect("a policy");
        let rules: Vec<String> = file.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, expected, "{added}");
        for line in text.lines().filter(|line| *line != "rules: []") {
            assert!(added.contains(line), "{line} in {added}");
        }
        file
    };
    let one = r"allow-get: ^https://new\.test/$";
    check("", &[one]);
    check("rules: []\n", &[one]);
    check("# nothing yet", &[one]);
    check("rules:\n- action: allow\n  pattern: 'x'", &["allow: x", one]);
    let file = check(
        "# top\nrules:\n    - action: allow\n      pattern: 'x'\n    # about y\n    - {action: deny, pattern: 'y'}\n\n# the log\nlogging:\n  level: info\n",
        &["allow: x", "deny: y", one],
    );
    assert!(file.logging.level.is_some());
    for text in ["rules: [{action: allow, pattern: x}]", "rules: 1", "rule:\n"] {
        assert_eq!(add_to(text, &new), Err(Unreadable), "{text}");
    }
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
    let policy = policy(&document(&[], &learner.rules()).expect("a document"));
    assert!(allows(
        &policy,
        "GET",
        &format!("https://a.test/1/x{}y", 2 * NODES_MAX - 2)
    ));
    assert!(!allows(&policy, "POST", "https://a.test/1/x1y"));
}

proptest! {
    /// Whatever was asked for is allowed the next time, and by rules that are pinned to the hosts that were asked.
    #[test]
    fn the_same_again_is_allowed(
        paths in prop::collection::vec("(/[a-c0-9.%&'()~:@+,;=_-]{0,12}){1,4}(\\?[a-z]{0,3})?", 1..40),
        hosts in prop::collection::vec("[a-c]{1,2}\\.test(:8080)?", 1..4),
    ) {
        let mut targets = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            let method = [Method::GET, Method::POST, Method::CONNECT][number % 3].clone();
            let scheme = if number % 2 == 0 { Scheme::Https } else { Scheme::Http };
            targets.extend(Target::new(&method, scheme, &hosts[number % hosts.len()], path));
        }
        let mut learner = Learner::default();
        for target in &targets {
            learner.see(target.method().as_str(), target.url(), Some("p"), None);
        }
        let text = document(&[], &learner.rules()).expect("a document");
        let policy = policy(&text);
        for target in &targets {
            prop_assert!(matches!(policy.judge(target), Verdict::Allow(_)), "{} {}", target.url(), text);
            prop_assert!(policy.rules().any(|(_, rule)| rule.is_pinned_to(target.host())), "{}", text);
        }
        let known: HashSet<_> = targets.iter().map(|target| target.host().clone()).collect();
        prop_assert!(policy.rules().all(|(_, rule)| known.iter().any(|host| rule.is_pinned_to(host))));
    }
}
