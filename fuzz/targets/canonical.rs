//! An authority and a path, parted by a line end, and some other spellings of them: one target, and one verdict.
#![no_main]

use http::Method;
use httpjail::net::Scheme;
use httpjail::policy::{Policy, Rule, Source, Target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let rules = [
        r"deny: ^https://[^/]*/a",
        r"allow-get: [.]test/.*b",
        r"deny: \?.*%",
        "allow: x",
    ];
    let rule = |(nth, rule): (usize, &&str)| Rule::parse(rule, Source::Option(nth + 1)).expect("a rule");
    Policy::new(rules.iter().enumerate().map(rule).collect())
});

fuzz_target!(|text: &str| {
    let (authority, path) = text.split_once('\n').unwrap_or((text, "/"));
    let target = |authority: &str, path: &str| Target::new(&Method::GET, Scheme::Https, authority, path);
    let Ok(first) = target(authority, path) else { return };
    assert!(first.url().bytes().all(|byte| byte.is_ascii_graphic()), "{first}");
    assert!(
        first.path().split('/').all(|segment| segment != "." && segment != ".."),
        "{first}"
    );
    let (plain, query) = path
        .split_once('?')
        .map_or((path, String::new()), |(path, query)| (path, format!("?{query}")));
    let plain = if plain.is_empty() { "/" } else { plain };
    // Two escapes that begin with a letter's own spelling (`%C3`) stay whole: only unreserved characters are escaped here.
    let escaped: String = spelled(plain);
    for (authority, path) in [
        (first.authority().to_owned(), first.path_and_query().to_owned()),
        (authority.to_ascii_uppercase(), path.to_owned()),
        (authority.to_owned(), format!("/.{plain}{query}")),
        (authority.to_owned(), format!("/x/..{plain}{query}")),
        (authority.to_owned(), format!("/%2E%2e{plain}{query}")),
        (authority.to_owned(), format!("{escaped}{query}")),
    ] {
        let again = target(&authority, &path);
        assert_eq!(again.as_ref(), Ok(&first), "{authority:?} {path:?}");
        assert_eq!(again.map(|again| POLICY.judge(&again)), Ok(POLICY.judge(&first)));
    }
});

/// Every unreserved character that is no part of an escape, escaped.
fn spelled(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path.chars();
    while let Some(char) = rest.next() {
        match char {
            '%' => out.extend([Some('%'), rest.next(), rest.next()].into_iter().flatten()),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '~' => out += &format!("%{:02x}", u32::from(char)),
            _ => out.push(char),
        }
    }
    out
}
