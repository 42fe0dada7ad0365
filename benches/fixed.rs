//! Fixed work of the rules, whose instructions `cargo xtask guard` counts.
//!
//! `fixed judge N` judges N requests by a thousand rules, `fixed target N` makes N targets. It measures nothing itself.

use std::env;
use std::hint::black_box;

use http::Method;
use httpjail::net::Scheme;
use httpjail::policy::{Policy, Rule, Source, Target};

const RULES: usize = 1000;

/// What each target is made of: the ordinary one, and those whose spelling has to change.
const URLS: [(Scheme, &str, &str); 4] = [
    (Scheme::Https, "api.example.com", "/repos/org7/project/pulls?page=2"),
    (Scheme::Https, "H10.Example.com:443", "/some/path?x=10"),
    (Scheme::Http, "192.0.2.1:8080", "/"),
    (
        Scheme::Https,
        "telemetry-9.vendor.example",
        "/a/%7Euser/../collect?session=0123456789",
    ),
];

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let &[work, count] = words.as_slice() else {
        return println!("fixed judge|target N");
    };
    let count: usize = count.parse().expect("a number");
    match work {
        "judge" => judge(count),
        "target" => (0..count).for_each(|nth| drop(black_box(target(nth)))),
        _ => panic!("no such work: {work}"),
    }
}

fn judge(count: usize) {
    let rules = (0..RULES).map(|nth| Rule::parse(&rule(nth), Source::Option(nth + 1)).expect("a rule"));
    let policy = Policy::new(rules.collect());
    let targets: Vec<Target> = (0..URLS.len()).map(target).collect();
    for nth in 0..count {
        let _ = black_box(policy.judge(black_box(&targets[nth % targets.len()])));
    }
}

fn target(nth: usize) -> Target {
    let (scheme, authority, path) = black_box(URLS[nth % URLS.len()]);
    Target::new(&Method::GET, scheme, authority, path).expect("a target")
}

/// Rules of the kinds that `cargo xtask bench rules` mixes.
fn rule(nth: usize) -> String {
    match nth % 10 {
        0..6 => format!(r"allow: ^https://h{nth}\.example\.com/"),
        6 => format!(r"allow-get: ^https?://h{nth}\.example\.org(:\d+)?/"),
        7 => format!(r"allow: ^https://api\.example\.com/repos/org{nth}/"),
        8 => format!(r"allow-get: ^https://api\.example\.com/repos/org{nth}/[^/]+/issues$"),
        _ => format!(r"deny: telemetry-{nth}\."),
    }
}
