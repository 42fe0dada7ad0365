use std::collections::HashSet;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::net::Scheme;
use crate::policy::learn::Learner;
use crate::policy::{Policy, Target, Verdict};

#[test]
fn a_document_to_read() {
    let mut learner = Learner::default();
    for version in ["1.3.0", "1.3.1"] {
        let url = format!("https://registry.test/left-pad/-/left-pad-{version}.tgz");
        learner.see("GET", &url, Some("node"), None);
    }
    learner.see("GET", "https://registry.test/it's", Some("npm install"), None);
    learner.see("PROPFIND", "https://dav.test/", None, Some("connect failed"));
    let text = document(&["LearnedRule from npm.".into()], &learner.rules()).expect("a document");
    insta::assert_snapshot!(text, @r"
    # LearnedRule from npm.
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
fn rules_are_added_to_those_that_are_there() {
    let mut learner = Learner::default();
    learner.see("GET", "https://new.test/", Some("curl"), None);
    let new = learner.rules();
    let check = |text: &str, expected: &[&str]| {
        let added = add_to(text, &new).expect("a longer file");
        let file = parse("", &added).expect("a policy");
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
        let policy = Policy::new(parse("learned.yaml", &text).expect("a policy").rules);
        for target in &targets {
            prop_assert!(matches!(policy.judge(target), Verdict::Allow(_)), "{} {}", target.url(), text);
            prop_assert!(policy.rules().any(|(_, rule)| rule.is_pinned_to(target.host())), "{}", text);
        }
        let known: HashSet<_> = targets.iter().map(|target| target.host().clone()).collect();
        prop_assert!(policy.rules().all(|(_, rule)| known.iter().any(|host| rule.is_pinned_to(host))));
    }
}
