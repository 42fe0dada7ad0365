use proptest::prelude::*;

use super::*;

fn get(scheme: Scheme, authority: &str, path_and_query: &str) -> Result<Target, TargetError> {
    Target::new(&Method::GET, scheme, authority, path_and_query)
}

/// Each path and query becomes the canonical one, which is its own canonical form and goes into a request line.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (given, canonical) in cases {
        let target = get(Scheme::Https, "h.test", given).unwrap_or_else(|error| panic!("{given:?}: {error}"));
        assert_eq!(target.path_and_query(), *canonical, "{given:?}");
        assert_eq!(get(Scheme::Https, "h.test", canonical), Ok(target), "{canonical:?}");
    }
}

#[track_caller]
fn refused(paths: &[&str]) {
    for path in paths {
        let outcome = get(Scheme::Https, "h.test", path);
        assert!(
            matches!(outcome, Err(TargetError::Path(_) | TargetError::Query(_))),
            "{path:?} became {outcome:?}"
        );
    }
}

// Proves: H04.
#[test]
fn dot_segments_go() {
    check(&[
        ("", "/"),
        ("/", "/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/./", "/"),
        ("/../", "/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/./b", "/a/b"),
        ("/../../a", "/a"),
        ("/a/../../b", "/b"),
        ("/pub/../admin", "/admin"),
        ("/pub/%2e%2e/admin", "/admin"),
        ("/pub/%2E./admin", "/admin"),
        ("/pub/.%2e/admin", "/admin"),
        ("/pub/%2e/admin", "/pub/admin"),
        ("/a//b", "/a//b"),
        ("//a", "//a"),
        ("/a//../b", "/a/b"),
        ("//../a", "/a"),
        ("/...", "/..."),
        ("/.a/..b/c..", "/.a/..b/c.."),
        ("/a/..?x", "/?x"),
    ]);
}

// Proves: H04.
#[test]
fn escapes_have_one_form() {
    check(&[
        ("/%61%62c", "/abc"),
        ("/%7Euser", "/~user"),
        ("/%2d%5f%2e", "/-_."),
        ("/%7e%41%39", "/~A9"),
        ("/@scope%2fname", "/@scope%2Fname"),
        ("/@scope%2Fname", "/@scope%2Fname"),
        ("/a%3fb", "/a%3Fb"),
        ("/a%20b", "/a%20b"),
        ("/%c3%bc", "/%C3%BC"),
        ("/ü", "/%C3%BC"),
        ("/{a}", "/%7Ba%7D"),
        ("/a\"<>^`b", "/a%22%3C%3E%5E%60b"),
        ("/a|b[c]!$&'()*+,;=:@", "/a|b[c]!$&'()*+,;=:@"),
        ("/%25", "/%25"),
        ("/%252f", "/%252f"),
        ("/a%0ab", "/a%0Ab"),
        ("/a;b=c/d", "/a;b=c/d"),
        ("/...;x", "/...;x"),
        ("/%C0", "/%C0"),
        ("/a.;b", "/a.;b"),
        ("/*", "/*"),
    ]);
}

#[test]
fn queries_keep_their_bytes() {
    check(&[
        ("?x", "/?x"),
        ("/?", "/?"),
        ("/a?b=c&d", "/a?b=c&d"),
        ("/a?%61%2f%zz%", "/a?%61%2f%zz%"),
        ("/a?100%", "/a?100%"),
        ("/a?b/../c", "/a?b/../c"),
        ("/a??b?c", "/a??b?c"),
        ("/a?\\%00%5c", "/a?\\%00%5c"),
        ("/a?{b}|`^", "/a?{b}|`^"),
        ("/a?\"<>", "/a?%22%3C%3E"),
        ("/a?q=ü", "/a?q=%C3%BC"),
        ("/a?u=https://b/", "/a?u=https://b/"),
    ]);
}

// Proves: H04.
#[test]
fn ambiguous_paths_are_refused() {
    refused(&[
        "a",
        "*",
        "/a\\b",
        "/\\",
        "/a%5cb",
        "/a%5Cb",
        "/%00",
        "/a%00.txt",
        "/a b",
        " /a",
        "/a ",
        "/a\tb",
        "/a\r\nb",
        "/a\0",
        "/a\x7f",
        "/%",
        "/%2",
        "/%zz",
        "/%2g",
        "/%%32e",
        "/%u002e",
        "/a#b",
        "/#",
        "/a?b#c",
        "/a?b c",
        "/a?b\n",
        "/a?\0",
        "/..;",
        "/..;/a",
        "/..;x=1/a",
        "/.;/a",
        "/%2e%2e;/a",
        "/..%3b/a",
        "/..%2f",
        "/..%2Fa",
        "/a%2f..",
        "/a%2F..%2Fb",
        "/%2e%2e%2fa",
        "/.%2fa",
        "/%252e%252e/a",
        "/%252e",
        "/..%252fa",
        "/%25252e%25252e/a",
        "/..%255ca",
        "/%c0%ae%c0%ae/a",
        "/%c0%ae",
        "/..%c0%afa",
        "/%e0%80%ae%e0%80%ae/a",
        "/..%c1%9ca",
        "/a/%2e%2e%2f",
        "/%c0%2fae/..%2f",
    ]);
}

// Proves: H04.
#[test]
fn layers_of_encoding_are_bounded() {
    let nested = |layers: usize| format!("/%{}41", "25".repeat(layers));
    check(&[(&nested(4), &nested(4))]);
    refused(&[&nested(20), &nested(30_000)]);
}

// Proves: H03.
#[test]
fn authorities() {
    for (scheme, authority, url) in [
        (Scheme::Https, "Example.COM", "https://example.com/"),
        (Scheme::Https, "example.com.", "https://example.com/"),
        (Scheme::Https, "example.com:443", "https://example.com/"),
        (Scheme::Http, "example.com:80", "http://example.com/"),
        (Scheme::Http, "example.com:443", "http://example.com:443/"),
        (Scheme::Https, "example.com:80", "https://example.com:80/"),
        (Scheme::Https, "example.com.:8443", "https://example.com:8443/"),
        (Scheme::Http, "127.0.0.1:65535", "http://127.0.0.1:65535/"),
        (Scheme::Http, "[::1]", "http://[::1]/"),
        (Scheme::Http, "[0::1]:3000", "http://[::1]:3000/"),
        (Scheme::Http, "[::ffff:127.0.0.1]:3000", "http://127.0.0.1:3000/"),
        (Scheme::Https, "bücher.example", "https://xn--bcher-kva.example/"),
    ] {
        let target = get(scheme, authority, "/").unwrap_or_else(|error| panic!("{authority:?}: {error}"));
        assert_eq!(target.url(), url, "{authority:?}");
        assert_eq!(url, format!("{}://{}/", scheme.as_str(), target.authority()));
    }
    for authority in [
        "",
        ":80",
        "a:",
        "a:0",
        "a:080",
        "a:00",
        "a:65536",
        "a:+80",
        "a:-1",
        "a: 80",
        "a:80 ",
        "a:8o",
        "a:80:80",
        "a@b",
        "user:pw@b:80",
        "@b",
        "a:99999999999999999999",
        "[::1]:",
        "[::1]80",
        "::1",
        "[::1",
        "[::1]:0",
        "a/b",
        "a?b",
        "a,b",
        "a b",
        "a\\b",
        "https://a",
        "127.1:80",
        "a]:80",
        "[a]:80",
    ] {
        assert!(get(Scheme::Http, authority, "/").is_err(), "{authority:?}");
    }
}

#[test]
fn parts() {
    let target = Target::new(&Method::POST, Scheme::Http, "H.test:8080", "/a/%2e%2e/b?c=%").expect("a target");
    assert_eq!(target.method(), Method::POST);
    assert_eq!(target.scheme(), Scheme::Http);
    assert_eq!(target.host(), &Host::Name("h.test".into()));
    assert_eq!(target.port(), 8080);
    assert_eq!(target.authority(), "h.test:8080");
    assert_eq!((target.path(), target.path_and_query()), ("/b", "/b?c=%"));
    assert_eq!(target.url(), "http://h.test:8080/b?c=%");
    assert_eq!(target.to_string(), "POST http://h.test:8080/b?c=%");
    assert_eq!(get(Scheme::Https, "h.test", "/").map(|t| t.port()), Ok(443));
}

#[test]
fn methods() {
    let method = |name: &str| {
        let method = Method::from_bytes(name.as_bytes()).expect("a token");
        Target::new(&method, Scheme::Https, "h.test", "/").map(|target| target.method().to_string())
    };
    for name in [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PROPFIND", "M-SEARCH",
    ] {
        assert_eq!(method(name).as_deref(), Ok(name));
    }
    for name in [
        "get",
        "Get",
        "gET",
        "propfind",
        "G!T",
        "-GET",
        "1GET",
        "GET.",
        &"A".repeat(33),
    ] {
        assert_eq!(method(name), Err(TargetError::Method), "{name}");
    }
}

#[test]
fn asterisk_belongs_to_options() {
    let options = Target::new(&Method::OPTIONS, Scheme::Http, "h.test", "*").expect("a target");
    assert_eq!((options.url(), options.path_and_query()), ("http://h.test*", "*"));
    assert!(Target::new(&Method::GET, Scheme::Http, "h.test", "*").is_err());
    assert!(Target::new(&Method::OPTIONS, Scheme::Http, "h.test", "*?x").is_err());
    assert!(Target::new(&Method::OPTIONS, Scheme::Http, "h.test", "/*").is_ok_and(|slash| slash != options));
}

fn authority() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z]{1,8}(\\.[a-z]{1,5}){0,2}\\.?(:[0-9]{1,5})?",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "\\PC{0,12}"
    ]
}

fn path_and_query() -> impl Strategy<Value = String> {
    prop_oneof![
        "(/|\\.|%2[eEfF]|%25|%[0-9a-f]{2}|;|[a-z]|\\?|%c0|ü|\\{){0,24}",
        "/(\\.\\.?/|[a-z]{1,3}/|/){0,8}[a-z.]{0,3}",
        "/\\PC{0,30}",
    ]
}

proptest! {
    #[test]
    fn canonical_is_its_own_canonical_form(authority in authority(), path in path_and_query(), https: bool) {
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        if let Ok(target) = get(scheme, &authority, &path) {
            prop_assert_eq!(get(scheme, target.authority(), target.path_and_query()), Ok(target.clone()));
        }
    }

    // Proves: H01, H04.
    #[test]
    fn what_is_judged_is_what_is_forwarded(authority in authority(), path in path_and_query()) {
        if let Ok(target) = get(Scheme::Https, &authority, &path) {
            let forwarded = format!("https://{}{}", target.authority(), target.path_and_query());
            prop_assert_eq!(target.url(), &forwarded);
            prop_assert!(target.url().bytes().all(|b| b.is_ascii_graphic()), "{}", target.url());
            // It goes into a request as it stands.
            let uri: http::Uri = target.url().parse().expect("a URI");
            prop_assert_eq!(uri.to_string(), target.url());
            prop_assert!(target.path().split('/').all(|segment| segment != "." && segment != ".."));
        }
    }
}
