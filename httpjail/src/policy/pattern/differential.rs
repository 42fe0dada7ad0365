//! Compares patterns, unusual ones too, with the `regex` crate.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use regex::Regex;

use super::Pattern;

/// What patterns are made of here: what [`super::plain`] reads, and what looks like it.
const PIECES: &[&str] = &[
    "^",
    "$",
    "^",
    "$",
    r"\A",
    r"\z",
    r"\b",
    r"\B",
    r"\b{start}",
    r"\b{end}",
    r"\b{start-half}",
    r"\b{end-half}",
    "https?://",
    "http://",
    "https://",
    "http",
    "s?",
    "://",
    ":",
    "//",
    "/",
    "/",
    r"\/",
    r"\:",
    r"\-",
    r"\.",
    r"\.",
    ".",
    ".",
    "-",
    "a",
    "b",
    "ab",
    "A",
    "x",
    "0",
    "7",
    "_",
    "=",
    "&",
    "%2F",
    "%",
    "@",
    ",",
    ";",
    "!",
    "~",
    "'",
    "#",
    " ",
    "\"",
    r"\?",
    r"(\?|$)",
    r"(\?|$)",
    r"(:\d+)?",
    r"(:\d+)?",
    "[^/]*",
    "[^/]+",
    "[^/]",
    ".*",
    ".*",
    ".+",
    ".*?",
    ".+?",
    r"\d+",
    r"\d",
    r"\D",
    r"\w",
    r"\W+",
    r"\s*",
    r"\S",
    "(?i)",
    "(?-i)",
    "(?x)",
    "(?s)",
    "(?m)",
    "(?U)",
    "(?R)",
    "(?u)",
    "(?i:a",
    "(?:",
    "(",
    ")",
    ")",
    "|",
    "||",
    "*",
    "+",
    "?",
    "??",
    "{2}",
    "{0}",
    "{1,2}",
    "{0,}",
    r"\x2e",
    r"\x{2f}",
    r"\u002F",
    r"\n",
    r"\x61",
    "[a-b]",
    "[^a]",
    "[.]",
    "[[:alpha:]]",
    r"[\w&&[^a]]",
    r"\p{Lu}",
    r"\pN",
    r"\x{212a}",
    "é",
    r"[é-ÿ]",
];

const URLS: &[&str] = &[
    "", "http://", "https://", "http://", "https://", "a", "b", "ab", "A", "x", "0", "7", "_", "=", "&", "%2F", "@",
    ",", ";", "!", "~", "'", "/", "/", "//", ":", ":7", ":77", ".", ".", "-", "?", "?", "??", "*", "k", "K", "http",
    "s", "://",
];

fn pattern() -> impl Strategy<Value = String> {
    let free = proptest::collection::vec(select(PIECES), 1..9).prop_map(|parts| parts.concat());
    let usual = (
        select(vec!["^https://", "^https?://", "^http://", "", "^"]),
        proptest::collection::vec(
            select(vec![
                "a", "b", r"\.", "/", "/", "x", r"\?", "-", ":7", r"(:\d+)?", ".*", "[^/]*", r"\d+", ".", "[^/]+",
                "[^/]", ".+", r"\&", r"\@", r"\*",
            ]),
            0..7,
        ),
        select(vec![
            "", "$", r"(\?|$)", r"\?", ".*", ".*$", "?", "+", "|", "|^", r"\z", "(/|$)",
        ]),
    )
        .prop_map(|(start, middle, end)| format!("{start}{}{end}", middle.concat()));
    prop_oneof![1 => free, 1 => usual]
}

fn url() -> impl Strategy<Value = String> {
    (
        select(vec!["https://", "http://"]),
        proptest::collection::vec(select(URLS), 1..10),
    )
        .prop_map(|(start, parts)| format!("{start}{}", parts.concat()))
}

/// `HTTPJAIL_TEST_RULES_SECONDS` lets it search for longer, as that of the index.
#[test]
fn the_regex_crate_says_the_same() {
    let seconds =
        std::env::var("HTTPJAIL_TEST_RULES_SECONDS").map_or(0, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let config = Config {
        cases: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    let cases = (pattern(), proptest::collection::vec(url(), 24));
    let mut runner = TestRunner::new_with_rng(config.clone(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let counts = std::cell::Cell::new((0_u64, 0_u64));
    loop {
        runner
            .run(&cases, |(text, urls)| {
                let (Ok(pattern), Ok(regex)) = (Pattern::new(&text), Regex::new(text.trim())) else {
                    return Ok(());
                };
                for url in &urls {
                    let wanted = regex.is_match(url);
                    prop_assert_eq!(
                        pattern.matches(url),
                        Some(wanted),
                        "{:?} {:?} {:?}",
                        text,
                        url,
                        pattern.test()
                    );
                    let (all, found) = counts.get();
                    counts.set((all + 1, found + u64::from(wanted)));
                }
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
        if Instant::now() >= end {
            break;
        }
        runner = TestRunner::new(config.clone());
    }
    let (all, found) = counts.get();
    println!("{all} searches, {found} found");
    assert!(found * 100 >= all * 5, "{found} of {all} say too little");
}
