//! One judgement by 10, 1,000 and 100,000 rules: httpjail, a loop of `Regex`, a `RegexSet` and the `adblock` crate, in the same run.
//!
//! Each engine gets requests that are parsed already. A round's median is over samples of eight judgements on different URLs, half
//! of which some rule matches and half none; the engines take turns. The arguments are how many rounds, and which setting alone
//! (`mix/1000`). The lines that begin with `@` are for `cargo xtask bench G11`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adblock::Engine;
use adblock::request::Request;
use http::Method;
use httpjail::net::Scheme;
use httpjail::policy::{Policy, Rule, Source, Target, Verdict};
use peak_alloc::PeakAlloc;
use regex::{Regex, RegexSet, RegexSetBuilder};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const URLS: usize = 1024;
const BATCH: usize = 8;
/// How many samples of an engine are kept of a round.
const SAMPLES: usize = 40_000;
/// How long one engine may take in one round.
const TURN: Duration = Duration::from_millis(400);

/// A rule in the languages of the engines, and a URL that it matches.
struct Spelling {
    rule: String,
    regex: String,
    adblock: String,
    url: String,
}

fn spelling(kind: &str, i: usize) -> Spelling {
    let sort = match kind {
        "hosts" => i % 7,
        "paths" => 7 + i % 2,
        "unpinned" => 9,
        _ => i % 10,
    };
    let (action, regex, adblock, url) = match sort {
        0..6 => ("allow", format!(r"^https://h{i}\.example\.com/"), format!("||h{i}.example.com^"), format!("https://h{i}.example.com/some/path?x={i}")),
        6 => ("allow-get", format!(r"^https?://h{i}\.example\.org(:\d+)?/"), format!("||h{i}.example.org^"), format!("https://h{i}.example.org:8443/index.html")),
        7 => ("allow", format!(r"^https://api\.example\.com/repos/org{i}/"), format!("||api.example.com/repos/org{i}/"), format!("https://api.example.com/repos/org{i}/project/pulls?page=2")),
        8 => ("allow-get", format!(r"^https://api\.example\.com/repos/org{i}/[^/]+/issues$"), format!("||api.example.com/repos/org{i}/*/issues|"), format!("https://api.example.com/repos/org{i}/project/issues")),
        _ => ("deny", format!(r"telemetry-{i}\."), format!("telemetry-{i}."), format!("https://telemetry-{i}.vendor.example/collect/events?session=0123456789")),
    };
    Spelling { rule: format!("{action}: {regex}"), regex, adblock, url }
}

fn target(url: &str) -> Target {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let at = rest.find('/').expect("a path");
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    Target::new(&Method::GET, scheme, &rest[..at], &rest[at..]).expect("a target")
}

/// An engine, made and ready: what it took, and how to ask it about the nth URL.
struct Contender {
    name: &'static str,
    build: Duration,
    bytes: usize,
    judge: Box<dyn Fn(usize) -> bool>,
    /// Of each round, sorted.
    rounds: Vec<Vec<f64>>,
}

fn made(name: &'static str, make: impl FnOnce() -> Box<dyn Fn(usize) -> bool>) -> Contender {
    let before = MEMORY.current_usage();
    let start = Instant::now();
    let judge = make();
    let build = start.elapsed();
    Contender { name, build, bytes: MEMORY.current_usage().saturating_sub(before), judge, rounds: Vec::new() }
}

fn contenders(kind: &'static str, count: usize) -> Vec<Contender> {
    let spellings: Vec<Spelling> = (0..count).map(|i| spelling(kind, i)).collect();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let urls: Vec<String> = (0..URLS)
        .map(|n| match n % 2 {
            0 => spellings[next() % count].url.clone(),
            _ => format!("https://host{}.elsewhere.example/assets/{}/main.js?v={}", next() % 1000, next() % 100, next() % 10_000),
        })
        .collect();
    let targets = || urls.iter().map(|url| target(url)).collect::<Vec<_>>();
    let rules: Vec<String> = spellings.iter().map(|s| s.rule.clone()).collect();
    let regexes: Vec<String> = spellings.iter().map(|s| s.regex.clone()).collect();
    let filters = spellings.iter().map(|s| s.adblock.as_str()).collect::<Vec<_>>().join("\n");
    drop(spellings);

    let (ours, others) = (targets(), targets());
    let judged = made("httpjail", || {
        let rules = rules.iter().enumerate().map(|(n, text)| Rule::parse(text, Source::Option(n + 1)).expect("a rule"));
        let policy = Policy::new(rules.collect());
        Box::new(move |n| matches!(policy.judge(&ours[n]), Verdict::Allow(_)))
    });
    // Without the methods, which every URL here has, and with the action of the first that matches.
    let allows: Vec<bool> = rules.iter().map(|rule| rule.starts_with("allow")).collect();
    let (allows_too, urls_too) = (allows.clone(), others.clone());
    let looped = made("loop of Regex", || {
        let regexes: Vec<Regex> = regexes.iter().map(|text| Regex::new(text).expect("a pattern")).collect();
        Box::new(move |n| regexes.iter().position(|regex| regex.is_match(others[n].url())).is_some_and(|found| allows[found]))
    });
    for n in 0..if count > 10_000 { 64 } else { URLS } {
        assert_eq!((judged.judge)(n), (looped.judge)(n), "{}", urls[n]);
    }
    let mut all = vec![judged, looped];
    // A set of 100,000 takes minutes to build, and tens of milliseconds for each judgement.
    if count <= 1_000 {
        all.push(made("RegexSet", || {
            let set: RegexSet = RegexSetBuilder::new(&regexes).size_limit(1 << 30).build().expect("a set");
            Box::new(move |n| set.matches(urls_too[n].url()).iter().next().is_some_and(|found| allows_too[found]))
        }));
    }
    let requests: Vec<Request> = urls.iter().map(|url| Request::new(url, "https://source.example/", "fetch", "GET").expect("a request")).collect();
    all.push(made("adblock", || {
        let engine = Engine::new_with_list_text(filters);
        Box::new(move |n| engine.check_network_request(&requests[n]).filter.is_some())
    }));
    all
}

fn measure(contenders: &mut [Contender], rounds: usize) {
    for _ in 0..rounds {
        for contender in contenders.iter_mut() {
            let end = Instant::now() + TURN;
            let (mut n, mut samples) = (0, Vec::new());
            while samples.is_empty() || Instant::now() < end && samples.len() < SAMPLES {
                let start = Instant::now();
                for k in n..n + BATCH {
                    black_box((contender.judge)(black_box(k % URLS)));
                }
                samples.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
                n += BATCH;
            }
            samples.sort_by(f64::total_cmp);
            contender.rounds.push(samples);
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let only = arguments.iter().find(|argument| argument.contains('/'));
    for kind in ["mix", "hosts", "paths", "unpinned"] {
        for count in [10, 1_000, 100_000] {
            if only.is_some_and(|only| format!("{kind}/{count}") != *only) {
                continue;
            }
            let mut contenders = contenders(kind, count);
            measure(&mut contenders, rounds);
            for contender in &contenders {
                let at = |share: f64| {
                    let of = |samples: &Vec<f64>| format!("{:.1}", samples[(samples.len() as f64 * share) as usize]);
                    contender.rounds.iter().map(of).collect::<Vec<_>>().join(" ")
                };
                println!(
                    "@{kind};{count};{};{};{};{:.3};{:.2}",
                    contender.name,
                    at(0.5),
                    at(0.99),
                    contender.build.as_secs_f64() * 1e3,
                    contender.bytes as f64 / f64::from(1 << 20),
                );
            }
        }
    }
}
