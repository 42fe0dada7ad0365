use super::*;

fn reach(pattern: &str) -> HostAnalysis {
    of_pattern(&Pattern::new(pattern).expect("a pattern"))
}

#[track_caller]
fn pinned(cases: &[(&str, &[&str])]) {
    for (pattern, hosts) in cases {
        let hosts: BTreeSet<Host> = hosts.iter().map(|host| Host::parse(host).expect("a host")).collect();
        assert_eq!(reach(pattern).pin, Pin::Hosts(hosts.into_iter().collect()), "{pattern}");
    }
}

/// An open pattern, and the URL that shows it (none: every host that it reaches is below a name that it spells out).
#[track_caller]
fn open(cases: &[(&str, Option<&str>)]) {
    for (pattern, stray) in cases {
        let reach = reach(pattern);
        assert_eq!((reach.pin, reach.stray.as_deref()), (Pin::Open, *stray), "{pattern}");
    }
}

#[test]
fn pinned_to_what_they_spell_out() {
    pinned(&[
        (r"^https://api\.github\.com/", &["api.github.com"]),
        (r"^https?://api\.github\.com/repos/.*", &["api.github.com"]),
        (r"^https://api\.github\.com(:\d+)?/", &["api.github.com"]),
        (r"^https://api\.github\.com:8443/", &["api.github.com"]),
        (r"^https?://127\.0\.0\.1:3000/", &["127.0.0.1"]),
        (r"^http://localhost(:\d+)?/", &["localhost"]),
        (r"^http://localhost[:/]", &["localhost"]),
        (r"^http://\[::1\]:3000/", &["[::1]"]),
        (
            r"^https://(a|b)\.test/|^https://c\.test/",
            &["a.test", "b.test", "c.test"],
        ),
        (r"^https://[ab]\.test/", &["a.test", "b.test"]),
        (r"(?i)^https://API\.test/", &["api.test"]),
        (r"^https://a\.test(/|$)", &["a.test"]),
        (r"^https://a\.test/(x|y)$", &["a.test"]),
        (r"\Ahttps://a\.test/", &["a.test"]),
        (r"(?m)^https://a\.test/", &["a.test"]),
        (r"^https://a\.test\b/", &["a.test"]),
        (r"^http(s)?://a\.test/", &["a.test"]),
        (r"^\w+://a\.test/", &["a.test"]),
        (r"^https://(www\.)?a\.test/", &["a.test", "www.a.test"]),
        (r"^https://a\.test:443/", &[]),
        (r"^http://a\.test:80/", &[]),
        (r"^https?://a\.test:80/", &["a.test"]),
        (r"^https?://a\.test:(80|443)/", &["a.test"]),
        (r"^https://a\.test:4430?/", &["a.test"]),
        (r"^https://a\.test:/", &[]),
        (r"^https://a\.test:(0|08|65536|99999)/", &[]),
        (r"^https://a\.test:65535/", &["a.test"]),
        (r"^https://a\.test$", &[]),
        (r"^https://A\.test/", &[]),
        (r"^https://a\.test\./", &[]),
        (r"^https://bücher\.test/", &[]),
        (r"^ftp://a\.test/", &[]),
        (r"^a\.test/", &[]),
        (r"^https://127\.1/", &[]),
        (r"^https://user@a\.test/", &[]),
    ]);
}

#[test]
fn open_with_a_url_that_shows_it() {
    open(&[
        (r"github\.com", Some("https://evil.example/?github.com")),
        (
            r"https://github\.com/",
            Some("https://evil.example/?https://github.com/"),
        ),
        (r"^https://a\.com", Some("https://a.com.evil.example/")),
        (r"^https://a\.com:?", Some("https://a.com.evil.example/")),
        (r"^http://a\.com", Some("http://a.com.evil.example/")),
        (r"^https://.*\.a\.com/", Some("https://evil.example/?.a.com/")),
        (r"^https://[^/]*a\.com/", Some("https://evila.com/")),
        (r"^https://api.github.com/", Some("https://apixgithub.com/")),
        (r"^https://api\.[^/]*\.com/", Some("https://api.evil.com/")),
        (r"^https://a\.test/|b\.test", Some("https://evil.example/?b.test")),
        (r".*", Some("https://evil.example/")),
        (r"^https://", Some("https://evil.example/")),
        (r"/$", Some("https://evil.example/")),
        (r"^https://\d+\.\d+\.\d+\.\d+/", Some("https://192.0.2.1/")),
        (r"^https?://[^/]+:8443/", Some("https://evil.example:8443/")),
    ]);
}

#[test]
fn open_below_a_name() {
    open(&[
        (r"^https://[^/]*\.github\.com/", None),
        (r"^https://[a-z.]+\.github\.com/", None),
        (r"^https://(\w+\.)?github\.com/", None),
        (r"^https://([^./]+\.)*github\.com[:/]", None),
    ]);
}

#[test]
fn too_much_work_pins_nothing() {
    open(&[
        (r"^https://([ab]\.){20}test/", None),
        (r"^https://[a-z]{3}\.x\.test/", None),
    ]);
}

#[test]
fn paths_asked_for() {
    use Https::{Nothing, Paths, Roots};
    for (pattern, wanted) in [
        (r"^https://a\.test/", Roots),
        (r"^https://a\.test/x", Paths),
        (r"^https://a\.test/.+", Paths),
        (r"^https://a\.test/.*", Roots),
        (r"a\.test", Roots),
        (r"/x$", Paths),
        (r"\?", Paths),
        (r"^http://a\.test/x", Nothing),
        (r"^http://(a|b)\.test/", Nothing),
        (r"^https://a\.test(/|$)", Roots),
        (r"^https://a\.test(:\d+)?/$", Roots),
        (r"^https://A\.test/", Nothing),
    ] {
        assert_eq!(reach(pattern).https, wanted, "{pattern}");
    }
}

/// The real regex on real URLs: a pin that the walk reports is never contradicted.
mod pins_hold {
    use proptest::prelude::*;

    use super::*;

    fn fragment() -> impl Strategy<Value = String> {
        proptest::sample::select(vec![
            "^",
            "https?://",
            "https://",
            "http://",
            r"a\.test",
            r"b\.test",
            "a.test",
            "test",
            "/",
            "(:\\d+)?",
            ":80",
            "[^/]*",
            ".*",
            "|",
            "$",
            r"\b",
            "(a|b)",
            "x?",
            "[:/]",
            r"\.",
            "*",
            r"127\.0\.0\.1",
            r"\[::1\]",
            "(?i)A",
        ])
        .prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        #[test]
        fn against_every_host(parts in proptest::collection::vec(fragment(), 1..8), anchored: bool) {
            let pattern = if anchored { format!("^https?://{}", parts.concat()) } else { parts.concat() };
            let Ok(pattern) = Pattern::new(&pattern) else { return Ok(()) };
            let HostAnalysis { pin, stray, .. } = of_pattern(&pattern);
            if let Some(stray) = stray {
                prop_assert!(pattern.matches(&stray) == Some(true), "{pattern} {stray}");
            }
            let Pin::Hosts(pinned) = pin else { return Ok(()) };
            for host in ["a.test", "b.test", "aa.test", "xa.test", "a.test.evil.example", "evil.example", "127.0.0.1", "[::1]", "test", "a-test"] {
                for rest in ["/", ":80/", ":8443/", "/a.test/", "/?https://a.test/", "/x", "//b.test", "*"] {
                    for scheme in SCHEMES {
                        let url = format!("{}://{host}{rest}", scheme.as_str());
                        let host = Host::parse(host).expect("a host");
                        prop_assert!(pattern.matches(&url) == Some(false) || pinned.contains(&host), "{pattern} {url} {pinned:?}");
                    }
                }
            }
        }
    }
}
