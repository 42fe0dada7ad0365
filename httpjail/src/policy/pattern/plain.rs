//! Reads the patterns that most rules have, `^https://host\.name/path` and the like, without the parser of regular
//! expressions: at a hundred thousand rules that parser is most of the start-up. A property test holds it to that parser.

use super::url_test::{Needs, Search, UrlTest, Where, telling};

const PORT: &str = r"(:\d+)?";
/// What can follow literal text, and matches something that is no literal. None is followed by an operator of its own.
const GAPS: [&str; 8] = [".*", ".+", "[^/]*", "[^/]+", PORT, r"\d+", "[^/]", "."];

/// How to test a pattern; `None` if it is not one of these.
pub(super) fn test(text: &str) -> Option<UrlTest> {
    let (begins, mut rest) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let both = rest.strip_prefix("https?://");
    rest = both.unwrap_or(rest);
    // How learned rules end: the path as it is, with or without a query.
    let bare = rest.strip_suffix(r"(\?|$)").filter(|_| begins);
    rest = bare.unwrap_or(rest);
    let mut runs = vec![String::new()];
    let mut first_gap = None;
    let mut first_gap_is_port = false;
    let mut last_gap = "";
    let mut ends = false;
    while let Some(next) = rest.chars().next() {
        if let Some(gap) = GAPS.iter().find(|gap| rest.starts_with(**gap)) {
            first_gap_is_port |= first_gap.is_none() && *gap == PORT;
            first_gap.get_or_insert(runs.len());
            last_gap = gap;
            runs.push(String::new());
            rest = &rest[gap.len()..];
            continue;
        }
        let literal = match next {
            '\\' => rest[1..]
                .chars()
                .next()
                .filter(|c| c.is_ascii_punctuation() && !"<>".contains(*c))?,
            '$' if rest.len() == 1 && bare.is_none() => {
                ends = true;
                break;
            }
            _ if next.is_ascii_alphanumeric() || "/:-_=&%@,;!'~".contains(next) => next,
            _ => return None,
        };
        if let Some(run) = runs.last_mut() {
            run.push(literal);
        }
        rest = &rest[if next == '\\' { 2 } else { 1 }..];
    }
    // What follows the last gap is nothing: `.*` at the end changes nothing, with or without `$`.
    if last_gap == ".*" && bare.is_none() && runs.last().is_some_and(String::is_empty) {
        runs.pop();
        ends = false;
        if first_gap == Some(runs.len()) {
            first_gap = None;
        }
    }
    let schemes: &[&str] = if both.is_some() {
        &["https://", "http://"]
    } else {
        &[""]
    };
    let start = |texts: &[&str]| -> Box<[Box<str>]> {
        let each = |scheme: &&str| {
            texts
                .iter()
                .map(|text| format!("{scheme}{text}").into())
                .collect::<Vec<_>>()
        };
        schemes.iter().flat_map(each).collect()
    };
    if first_gap.is_some() {
        let starts = match runs.as_slice() {
            _ if !begins => Box::default(),
            // The host ends here: a colon follows, or what comes after the port.
            [host, rest, ..] if first_gap_is_port && !rest.is_empty() => {
                start(&[&format!("{host}:"), &format!("{host}{rest}")])
            }
            [first, ..] => start(&[first]),
            [] => Box::default(),
        };
        let longest = runs.into_iter().rev().max_by_key(|run| telling(run));
        let needs = Needs {
            folded: false,
            texts: longest.filter(|run| !run.is_empty()).into_iter().collect(),
        };
        return Some(UrlTest::Search(Box::new(Search::new(starts, needs))));
    }
    let texts: Box<[Box<str>]> = start(&[&runs[0]]);
    if texts.iter().any(|text| text.is_empty()) {
        // `^(\?|$)` begins no URL.
        return Some(if begins && (ends || bare.is_some()) {
            UrlTest::Nothing
        } else {
            UrlTest::Every
        });
    }
    let place = match (begins, ends) {
        _ if bare.is_some() => Where::Bare,
        (true, true) => Where::Whole,
        (true, false) => Where::Start,
        (false, true) => Where::End,
        (false, false) => Where::Within,
    };
    Some(UrlTest::literals(place, texts))
}
