use super::*;

#[test]
fn searched_anywhere() {
    let pattern = Pattern::new(r" github\.com ").expect("a pattern");
    assert_eq!(pattern.as_str(), r"github\.com");
    assert_eq!(pattern.matches("https://github.com/"), Some(true));
    assert_eq!(pattern.matches("https://evil.example/?github.com"), Some(true));
    assert_eq!(pattern.matches("https://githubxcom/"), Some(false));
}

#[test]
fn wrong_patterns_say_where() {
    for (text, message) in [
        ("a(b", "invalid regular expression\n    a(b\n     ^ unclosed group"),
        (
            "[z-a]",
            "invalid regular expression\n    [z-a]\n     ^^^ invalid character class range, the start must be <= the end",
        ),
        ("^https://*", ""),
        (
            "*",
            "invalid regular expression\n    *\n    ^ repetition operator missing expression",
        ),
        (
            r"a\y",
            "invalid regular expression\n    a\\y\n     ^^ unrecognized escape sequence",
        ),
        (
            r"\p{x}",
            "invalid regular expression\n    \\p{x}\n    ^^^^^ Unicode property not found",
        ),
        ("", "the pattern is empty"),
        ("  ", "the pattern is empty"),
        (
            "a\u{8}b",
            "the pattern has a control character (\\u{8}), which no URL has",
        ),
        (
            "a\u{2028}b",
            "the pattern has a control character (\\u{2028}), which no URL has",
        ),
        (
            "(a{1000}){1000}",
            "the pattern is too large when compiled: `(a{1000}){1000}`",
        ),
    ] {
        let outcome = Pattern::new(text).map(|_| ()).map_err(|error| error.to_string());
        let wanted = if message.is_empty() {
            Ok(())
        } else {
            Err(message.to_owned())
        };
        assert_eq!(outcome, wanted, "{text:?}");
    }
}

#[test]
fn hints() {
    let hint = |text: &str| Pattern::new(text).err().and_then(|error| error.hint(text));
    assert!(hint("").is_some_and(|hint| hint.contains(".*")));
    assert!(hint("a\u{8}b").is_some_and(|hint| hint.contains("single quotes")));
    assert!(hint("(?!a)b").is_some_and(|hint| hint.contains("deny rule before")));
    assert!(hint(r"(a)\1").is_some_and(|hint| hint.contains("deny rule before")));
    assert_eq!(hint("(a"), None);
    assert!(
        hint("((((a{100}){100}){100}){100}").is_none(),
        "unbalanced, so a syntax error"
    );
}

// Proves: D07.
#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(matches!(Pattern::new(&deep), Err(PatternError::Syntax(_))));
}
