use http::Method;

use super::*;
use crate::net::Scheme;
use crate::policy::methods::METHODS;

fn parse(text: &str) -> Result<Rule, RuleError> {
    Rule::parse(text, Source::Option(1))
}

#[track_caller]
fn reads(text: &str, action: Action, methods: &[&Method], pattern: &str) {
    let rule = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(rule.action(), action, "{text:?}");
    let expected: Vec<&Method> = if methods.is_empty() {
        METHODS.iter().collect()
    } else {
        methods.to_vec()
    };
    let found: Vec<&Method> = METHODS
        .iter()
        .filter(|method| rule.methods().contains(method))
        .collect();
    assert_eq!(found, expected, "{text:?}");
    assert_eq!(rule.matcher().to_string(), pattern, "{text:?}");
    assert_eq!(rule.to_string(), text.trim(), "{text:?} is not shown as typed");
}

#[test]
fn the_forms_of_the_readme() {
    use Action::{Allow, Deny};
    reads(r"allow: github\.com", Allow, &[], r"github\.com");
    reads(r"allow-get: api\..*", Allow, &[&Method::GET], r"api\..*");
    reads(r"deny-post: telemetry\..*", Deny, &[&Method::POST], r"telemetry\..*");
    reads("deny: .*", Deny, &[], ".*");
    reads("deny: telemetry", Deny, &[], "telemetry");
    for method in &METHODS {
        reads(
            &format!("allow-{}: x", method.as_str().to_lowercase()),
            Allow,
            &[method],
            "x",
        );
    }
}

#[test]
fn any_case_and_spacing() {
    use Action::{Allow, Deny};
    reads("ALLOW: x", Allow, &[], "x");
    reads("Allow-Get: x", Allow, &[&Method::GET], "x");
    reads("dEnY-pAtCh:x", Deny, &[&Method::PATCH], "x");
    reads("  allow  :  x  ", Allow, &[], "x");
    reads("allow - get : x", Allow, &[&Method::GET], "x");
    reads("allow: ^https://a:80/:", Allow, &[], "^https://a:80/:");
    reads("allow:a-b: c", Allow, &[], "a-b: c");
}

#[test]
fn no_rules() {
    for (text, error) in [
        ("", RuleError::NoColon),
        ("allow", RuleError::NoColon),
        (r"allow github\.com", RuleError::NoColon),
        (r"github\.com", RuleError::NoColon),
        (": x", RuleError::Action(String::new())),
        ("permit: x", RuleError::Action("permit".into())),
        ("get: x", RuleError::Action("get".into())),
        ("allow get: x", RuleError::Action("allow get".into())),
        ("allowget: x", RuleError::Action("allowget".into())),
        ("https://a.test/", RuleError::Action("https".into())),
        ("allow-: x", RuleError::Method(String::new())),
        ("allow-foo: x", RuleError::Method("foo".into())),
        ("allow-get-post: x", RuleError::Method("get-post".into())),
        ("allow-get,post: x", RuleError::Method("get,post".into())),
        ("allow-propfind: x", RuleError::Method("propfind".into())),
        ("allow:", RuleError::Pattern(PatternError::Empty)),
        ("deny-get: ", RuleError::Pattern(PatternError::Empty)),
        (
            "allow: a\u{8}",
            RuleError::Pattern(PatternError::Control("\\u{8}".into())),
        ),
    ] {
        assert_eq!(parse(text).map(|rule| rule.to_string()), Err(error), "{text:?}");
    }
}

#[test]
fn hints_show_what_to_write() {
    for (text, hint) in [
        (r"allow github\.com", Some(r#"write "allow: github\.com""#)),
        (r"github\.com", Some(r#"write "allow: github\.com""#)),
        ("https://a.test/", Some(r#"write "allow: ^https://a\.test/""#)),
        ("deny", Some(r#"write "deny: .*""#)),
        ("*.a.test", Some(r#"write "allow: ^https://[^/]*\.a\.test/""#)),
        ("alow: x", Some("did you mean `allow`?")),
        ("permit: x", None),
    ] {
        assert_eq!(
            parse(text).err().and_then(|error| error.hint(text)).as_deref(),
            hint,
            "{text:?}"
        );
    }
    let hint = |text: &str| parse(text).err().and_then(|error| error.hint(text)).unwrap_or_default();
    assert!(hint("allow-get,post: x").contains("methods: [get, post]"));
    assert!(hint("allow:").contains("`.*`"));
}

#[test]
fn methods_are_exact() {
    let target = |method: &Method| Target::new(method, Scheme::Https, "a.test", "/").expect("a target");
    let get = parse("allow-get: .").expect("a rule");
    assert!(get.matches(&target(&Method::GET)));
    assert!(!get.matches(&target(&Method::HEAD)));
    assert!(!get.matches(&target(&Method::POST)));
    let propfind = Method::from_bytes(b"PROPFIND").expect("a method");
    assert!(!get.matches(&target(&propfind)));
    assert!(parse("allow: .").expect("a rule").matches(&target(&propfind)));
    let both = Methods::parse("get")
        .zip(Methods::parse("Put"))
        .map(|(get, put)| get.and(put))
        .expect("methods");
    assert_eq!(both.to_string(), "-get-put");
    assert!(both.contains(&Method::PUT) && both.contains(&Method::GET) && !both.contains(&Method::POST));
    assert_eq!(both.and(Methods::EVERY), Methods::EVERY);
}

#[test]
fn pinned_to_this_host_only() {
    let host = |text: &str| Host::parse(text).expect("a host");
    let rule = parse(r"allow: ^https?://(127\.0\.0\.1|localhost)(:\d+)?/").expect("a rule");
    assert!(rule.is_pinned_to(&host("127.0.0.1")) && rule.is_pinned_to(&host("localhost")));
    assert!(!rule.is_pinned_to(&host("127.0.0.2")));
    assert!(!parse("allow: .*").expect("a rule").is_pinned_to(&host("localhost")));
    assert!(
        !parse("allow: ^http://localhost")
            .expect("a rule")
            .is_pinned_to(&host("localhost"))
    );
}

#[test]
fn sources_are_named() {
    let file = |line| Source::File {
        file: "r.yaml".into(),
        number: 2,
        line,
    };
    assert_eq!(Source::Option(3).to_string(), "-r 3");
    assert_eq!(file(Some(7)).to_string(), "r.yaml:7");
    assert_eq!(file(None).to_string(), "r.yaml, rule 2");
}
