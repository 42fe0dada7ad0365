//! The index gives the answer of a plain loop over the `regex` crate.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http::Method;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use regex::Regex;

use super::*;
use crate::net::Scheme;
use crate::policy::{Action, Matcher, Methods, Pattern, Place, Policy, Reason, Source, Verdict};

/// What a rule of the test looks for: a pattern, or `host:` and `path:` with the pattern that means the same.
#[derive(Debug, Clone)]
enum Looks {
    Pattern(String),
    Place(String, Option<String>, String),
}

/// A rule of the test.
#[derive(Debug, Clone)]
struct Wanted {
    allow: bool,
    method: Option<&'static str>,
    looks: Looks,
}

const HOSTS: [&str; 7] = [
    "a.test",
    "b.test",
    "api.a.test",
    "x.api.a.test",
    "192.0.2.1",
    "[2001:db8::1]",
    "evil-a.test",
];
const ESCAPED: [&str; 7] = [
    r"a\.test",
    r"b\.test",
    r"api\.a\.test",
    r"x\.api\.a\.test",
    r"192\.0\.2\.1",
    r"\[2001:db8::1\]",
    r"evil-a\.test",
];
const PATHS: [&str; 12] = [
    "",
    "x",
    "repos/",
    "repos/one",
    "repos/two/",
    "Repos/One",
    "telemetry",
    "a.test/",
    "x/y/z.js",
    "%20",
    "repos/one/v12",
    "deep/er/and/deeper/",
];
const QUERIES: [&str; 7] = [
    "",
    "",
    "?",
    "?q=repos/one",
    "?q=repos/one?q",
    "?u=https://a.test/",
    "?TELEMETRY",
];
const PORTS: [&str; 4] = ["", "", "", ":8443"];
const METHODS: [&str; 4] = ["GET", "POST", "OPTIONS", "PURGE"];

fn url() -> impl Strategy<Value = (&'static str, String)> {
    let parts = (
        select(&HOSTS[..]),
        select(&PORTS[..]),
        select(&PATHS[..]),
        select(&QUERIES[..]),
    );
    (select(&METHODS[..]), any::<bool>(), 0..20, parts).prop_map(|(method, https, star, (host, port, path, query))| {
        let scheme = if https { "https" } else { "http" };
        match (star, method) {
            (0..6, "OPTIONS") => (method, format!("{scheme}://{host}{port}*")),
            _ => (method, format!("{scheme}://{host}{port}/{path}{query}")),
        }
    })
}

fn target((method, url): &(&str, String)) -> Target {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let at = rest.find(['/', '*']).expect("a path");
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let target = Target::new(&method, scheme, &rest[..at], &rest[at..]).expect("a target");
    assert_eq!(target.url(), url);
    target
}

/// A piece of a path as it stands in a pattern.
fn path() -> impl Strategy<Value = String> {
    select(&PATHS[..]).prop_map(regex::escape)
}

fn host() -> impl Strategy<Value = String> {
    select(&ESCAPED[..]).prop_map(str::to_owned)
}

fn beginning() -> impl Strategy<Value = String> {
    select(vec![
        "^https://",
        "^https://",
        "^https?://",
        "^http://",
        "^(http|https)://",
        r"\Ahttps://",
        "(?m)^https://",
        "https://",
        "^[a-z]+://",
        "(?i)^HTTPS://",
    ])
    .prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (beginning(), host(), path()).prop_map(|(start, host, path)| format!("{start}{host}/{path}")),
        2 => (beginning(), host(), path()).prop_map(|(start, host, path)| format!(r"{start}{host}(:\d+)?/{path}")),
        2 => (beginning(), host(), path(), select(vec![".*", "$", ".*$", "[^/]*$", r"(\?|$)", r"\b", "(/|$)", ".+", "?"]))
            .prop_map(|(start, host, path, end)| format!("{start}{host}/x?{path}{end}")),
        2 => (beginning(), select(vec![r"[^/]*", r"[^/]+\.", r"([^/]*\.)?", ".*", r"(\w+\.)*", r"\p{Ll}*\W", "[^:]*"]), host(), path())
            .prop_map(|(start, any, host, path)| format!("{start}{any}{host}/{path}")),
        1 => (beginning(), host(), path(), select(&QUERIES[..]), select(vec!["", "$", r"(\?|$)"]))
            .prop_map(|(start, host, path, query, end)| format!("{start}{host}/{path}{}{end}", regex::escape(query))),
        1 => (beginning(), host(), host(), path(), path())
            .prop_map(|(start, host, other, path, second)| format!("{start}({host}|{other})/({path}|{second})")),
        1 => (host(), path()).prop_map(|(host, path)| format!("{host}|{path}x")),
        1 => (beginning(), path(), beginning(), host()).prop_map(|(start, path, other, host)| format!("{start}a/{path}|{other}{host}/")),
        2 => path().prop_map(|path| format!("/{path}")),
        1 => (path(), select(vec!["$", r"\z", r"\b", "(?:)", r"\?", "[?]?$"])).prop_map(|(path, end)| format!("/{path}{end}")),
        1 => (select(vec!["(?i)", "(?i:", "(?-u)(?i)", "(?x) ", "(?s).", "(?U)x*"]), path()).prop_map(|(flag, path)| {
            let close = if flag.ends_with(':') { ")" } else { "" };
            format!("{flag}e{path}{close}")
        }),
        1 => host(),
        1 => select(vec![
            ".*", ".", "^", "$", "^$", "^.*$", "telemetry", "(?i)telemetry", "(?i)k", "REPOS", r"\d{2}", r"\p{Lu}", r"[^\p{ASCII}]", "bücher", r"\S+one", "[a-z&&[^t]]+/$", r"v\d+",
            r"\bone\b", r"\Bne", "repos/(one|two)", "(one|two|three)/", r"\.js$", "x{2,3}", "(a|b|)", "(a|b|)/$", "s://a", "://", "ttps", "[Rr]epos", "[aA][pP][iI]", "(?R)^https",
            r"(?:a\.test|b\.test)/(?:x|repos)", "^.*one", "^.+one$", "x*^http", "a$.*", r"\.", "^^https", "^https://a.test/", "(^https|^http)://b", "(x|^)http", "/{2,}", r"^https?://[^/]+/repos/[^/]+$",
        ]).prop_map(str::to_owned),
        1 => proptest::collection::vec(select(vec![
            "^", "$", "https?://", "https://", r"a\.test", r"api\.", "a.test", "/", r"(:\d+)?", "[^/]*", "[^/]+", ".*", ".+", "|", r"\b", "(a|b)", "x?", r"\.", r"\d+", "repos", "one", "(?i)", "[^/]", ".", "%20", "e", "-", r"\/", "=", "\\?", "+",
        ]), 1..7).prop_map(|parts| parts.concat()),
    ]
}

fn place() -> impl Strategy<Value = Looks> {
    let hosts = select(HOSTS.into_iter().zip(ESCAPED).collect::<Vec<_>>());
    (
        hosts,
        any::<bool>(),
        select(vec![None, None, Some(8443), Some(443), Some(80)]),
        proptest::option::of((select(&PATHS[..]), any::<bool>())),
    )
        .prop_map(|((host, escaped), below, port, path)| {
            let below = below && host.ends_with("test");
            let colon = port.map_or(String::new(), |port| format!(":{port}"));
            let [https, http] = [443, 80].map(|default| {
                port.filter(|port| *port != default)
                    .map_or(String::new(), |port| format!(":{port}"))
            });
            let star = if below { r"[^/:*]+\." } else { "" };
            let rest = match &path {
                None => String::new(),
                Some((path, true)) => format!("/{}", regex::escape(path)),
                Some((path, false)) => format!(r"/{}(\?|$)", regex::escape(path)),
            };
            let rest = if rest.is_empty() { r"[/*]".to_owned() } else { rest };
            let meaning = format!("^(https://{star}{escaped}{https}|http://{star}{escaped}{http}){rest}");
            let dot = if below { "*." } else { "" };
            let path = path.map(|(path, begins)| format!("/{path}{}", if begins { "*" } else { "" }));
            Looks::Place(format!("{dot}{host}{colon}"), path, meaning)
        })
}

fn rule() -> impl Strategy<Value = Wanted> {
    let looks = prop_oneof![6 => pattern().prop_map(Looks::Pattern), 1 => place()];
    (
        any::<bool>(),
        select(vec![None, None, Some("get"), Some("post"), Some("options")]),
        looks,
    )
        .prop_map(|(allow, method, looks)| Wanted { allow, method, looks })
}

/// The rule for the policy, and the regular expression for the loop; `None` if both say that there is no such pattern.
fn made(wanted: &Wanted) -> Option<(Rule, Regex)> {
    let (matcher, regex) = match &wanted.looks {
        Looks::Pattern(text) => match (Pattern::new(text), Regex::new(text)) {
            (Ok(pattern), Ok(regex)) => (Matcher::Pattern(pattern), regex),
            (Err(_), Err(_)) => return None,
            // White space around a pattern is none of it.
            (pattern, regex) => {
                assert!(
                    text.trim() != text || text.is_empty(),
                    "{text:?}: {pattern:?} {regex:?}"
                );
                return None;
            }
        },
        Looks::Place(host, path, meaning) => {
            let place = Place::new(host, path.as_deref()).expect("a place");
            (Matcher::Place(place), Regex::new(meaning).expect("a pattern"))
        }
    };
    let action = if wanted.allow { Action::Allow } else { Action::Deny };
    let methods = wanted
        .method
        .map_or(Methods::EVERY, |name| Methods::parse(name).expect("a method"));
    Some((Rule::new(action, methods, matcher, Source::Option(1)), regex))
}

/// How the judgements came out.
#[derive(Default)]
struct Shares {
    all: Cell<u32>,
    beyond_first: Cell<u32>,
    allowed: Cell<u32>,
    denied: Cell<u32>,
}

impl Shares {
    fn count(&self, verdict: Verdict) {
        let add = |cell: &Cell<u32>, yes: bool| cell.set(cell.get() + u32::from(yes));
        let rule = match verdict {
            Verdict::Allow(rule) | Verdict::Deny(Reason::Rule(rule)) => rule.0,
            Verdict::Deny(Reason::NoMatch) => 0,
        };
        add(&self.all, true);
        add(&self.beyond_first, rule > 0);
        add(&self.allowed, matches!(verdict, Verdict::Allow(_)));
        add(&self.denied, matches!(verdict, Verdict::Deny(_)));
    }

    fn hold(&self) {
        let percent = |cell: &Cell<u32>| u64::from(cell.get()) * 100 / u64::from(self.all.get().max(1));
        let shares = [&self.beyond_first, &self.allowed, &self.denied].map(percent);
        let all = self.all.get();
        println!(
            "{all} judgements: beyond the first rule {} %, allowed {} %, denied {} %",
            shares[0], shares[1], shares[2]
        );
        assert!(
            shares[0] >= 30 && shares[1] >= 20 && shares[2] >= 20,
            "{shares:?} of {all} say too little"
        );
    }
}

fn differ(rules: &[Wanted], requests: &[(&'static str, String)], shares: &Shares) -> Result<(), TestCaseError> {
    let (rules, regexes): (Vec<Rule>, Vec<Regex>) = rules.iter().filter_map(made).unzip();
    let bare = Index::after(0, &rules);
    let half = Index::after(rules.len() / 2, &rules);
    let policy = Policy::new(rules);
    for request in requests {
        let target = target(request);
        let of_method = |rule: &Rule| rule.methods().contains(target.method());
        let mut tried = policy.rules().map(|(id, rule)| (id, rule, &regexes[id.0]));
        let expected = tried.find(|(_, rule, regex)| of_method(rule) && regex.is_match(target.url()));
        let verdict = match expected {
            None => Verdict::Deny(Reason::NoMatch),
            Some((id, rule, _)) if rule.action() == Action::Allow => Verdict::Allow(id),
            Some((id, ..)) => Verdict::Deny(Reason::Rule(id)),
        };
        prop_assert_eq!(policy.judge(&target), verdict, "{}", target);
        let matches = |id: usize| {
            policy
                .rule(crate::policy::RuleId(id))
                .is_some_and(|rule| rule.matches(&target))
        };
        for index in [&bare, &half] {
            let found = index.first(policy.rules().len(), &target, matches);
            prop_assert_eq!(found, expected.map(|(id, ..)| id.0), "{} {:?}", target, index);
        }
        shares.count(verdict);
    }
    Ok(())
}

/// Behind a query the index has no stop, but a second `?` may follow.
#[test]
fn a_query_that_goes_on() {
    let rules: Vec<Rule> = [r"^https://a\.test/x\?q(\?|$)", r"^https://a\.test/x(\?|$)"]
        .map(|text| {
            let matcher = Matcher::Pattern(Pattern::new(text).expect("a pattern"));
            Rule::new(Action::Deny, Methods::EVERY, matcher, Source::Option(1))
        })
        .into();
    let index = Index::after(0, &rules);
    for (url, first) in [
        ("https://a.test/x?q", Some(0)),
        ("https://a.test/x?q?more", Some(0)),
        ("https://a.test/x?qq", Some(1)),
        ("https://a.test/x", Some(1)),
        ("https://a.test/y?q", None),
    ] {
        let target = target(&("GET", url.to_owned()));
        let found = index.first(rules.len(), &target, |id| rules[id].matches(&target));
        assert_eq!(found, first, "{url}");
    }
}

/// `HTTPJAIL_TEST_RULES_SECONDS` lets it search for longer.
#[test]
fn the_plain_loop_says_the_same() {
    let seconds =
        std::env::var("HTTPJAIL_TEST_RULES_SECONDS").map_or(0, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let shares = Shares::default();
    let cases = (
        proptest::collection::vec(rule(), 1..40),
        proptest::collection::vec(url(), 48),
    );
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases each time, unless there is time to look for others.
    let mut runner = TestRunner::new_with_rng(config.clone(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    loop {
        runner
            .run(&cases, |(rules, requests)| differ(&rules, &requests, &shares))
            .unwrap_or_else(|error| panic!("{error}"));
        if Instant::now() >= end {
            break;
        }
        runner = TestRunner::new(config.clone());
    }
    shares.hold();
}
