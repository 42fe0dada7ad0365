use super::*;

fn named(variables: &[(&str, &str)]) -> Result<ProxyConfig, ProxyEnvError> {
    let of = |name: &str| variables.iter().find(|(found, _)| *found == name);
    ProxyConfig::named_by(|name| of(name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn which_variable_counts() {
    // The proxy of http://a.test/ and that of https://a.test/.
    let check = |variables: &[(&str, &str)], expected: [&str; 2]| {
        let parents = named(variables).unwrap();
        let host = Host::parse("a.test").unwrap();
        let found = [Scheme::Http, Scheme::Https].map(|scheme| {
            let parent = parents.towards(scheme, &host, scheme.default_port());
            parent.map_or("-".to_owned(), ToString::to_string)
        });
        assert_eq!(found, expected, "{variables:?}");
    };
    check(&[], ["-", "-"]);
    check(&[("http_proxy", "one.test:3128")], ["one.test:3128", "-"]);
    check(&[("HTTP_PROXY", "one.test:3128")], ["-", "-"]);
    check(&[("https_proxy", "http://one.test")], ["-", "one.test:80"]);
    check(&[("HTTPS_PROXY", "https://one.test/")], ["-", "one.test:443"]);
    check(
        &[("HTTPS_PROXY", "two.test"), ("https_proxy", "one.test")],
        ["-", "one.test:80"],
    );
    check(
        &[("HTTPS_PROXY", "two.test"), ("https_proxy", " ")],
        ["-", "two.test:80"],
    );
    check(&[("ALL_PROXY", "all.test:1")], ["all.test:1", "all.test:1"]);
    check(
        &[("all_proxy", "all.test:1"), ("http_proxy", "[2001:db8::1]:2")],
        ["[2001:db8::1]:2", "all.test:1"],
    );
    check(
        &[("ALL_PROXY", "all.test:1"), ("NO_PROXY", "b.test")],
        ["all.test:1", "all.test:1"],
    );
    check(
        &[("ALL_PROXY", "all.test:1"), ("NO_PROXY", "a.test:443")],
        ["all.test:1", "-"],
    );
    check(
        &[("ALL_PROXY", "all.test:1"), ("no_proxy", "b.test, A.test")],
        ["-", "-"],
    );
    check(&[("ALL_PROXY", "socks5://all.test:1"), ("no_proxy", "*")], ["-", "-"]);
    // Not heeded where others are.
    let others = [
        ("ALL_PROXY", "socks5://s.test"),
        ("http_proxy", "h.test"),
        ("https_proxy", "h.test"),
    ];
    check(&others, ["h.test:80", "h.test:80"]);
}

#[test]
fn what_is_no_proxy() {
    let check = |value: &str, reason: &str| {
        let error = named(&[("https_proxy", value)]).unwrap_err();
        assert_eq!(
            (error.variable, error.reason.as_str()),
            ("https_proxy", reason),
            "{value}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    };
    check(
        "socks5h://me:secret@p.test:1",
        "`socks5h` is not a kind of proxy that it speaks to; http and https are",
    );
    check("http://", "the host is empty");
    check("http://me:secret@/", "the host is empty");
    check("http://me:secret@p.test:0", "its port is no number from 1 to 65535");
    check("http://me:secret@p.test:x", "its port is no number from 1 to 65535");
    check("http://me:secret@a b", "the host has a character that no host may have");
}

#[test]
fn credentials() {
    let check = |url: &str, expected: Option<&str>| {
        let parent = UpstreamProxy::parse(url).unwrap();
        let value = parent.authorization.as_ref().map(|value| {
            assert!(value.is_sensitive());
            let coded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
            String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap()
        });
        assert_eq!(value.as_deref(), expected, "{url}");
        assert_eq!(format!("{parent} {parent:?}"), "p.test:8 Parent(http://p.test:8)");
    };
    check("http://p.test:8", None);
    check("http://me@p.test:8", Some("me:"));
    check("me:secret@p.test:8/", Some("me:secret"));
    check("http://me:p%40ss%3A%25@p.test:8", Some("me:p@ss:%"));
    check("http://me:100%@p.test:8", Some("me:100%"));
    check("http://me:a:b@c@p.test:8", Some("me:a:b@c"));
}

#[test]
fn one_of_our_own_kind() {
    let ours = |url: &str| named(&[("https_proxy", url)]).unwrap().are_ours();
    assert!(ours("http://httpjail:token@127.0.0.1:5000"));
    assert!(!ours("http://me:httpjail@127.0.0.1:5000"));
    assert!(!ours("http://127.0.0.1:5000"));
}

#[test]
fn what_goes_around() {
    let check = |list: &str, direct: &[&str], proxied: &[&str]| {
        let bypass = NoProxy::parse(list);
        let covers = |place: &str| {
            let (host, port) = crate::proxy::authority::split_port(place);
            bypass.covers(
                &Host::parse(host).unwrap(),
                port.map_or(443, |port| port.parse().unwrap()),
            )
        };
        for place in direct {
            assert!(covers(place), "{place} is in {list}");
        }
        for place in proxied {
            assert!(!covers(place), "{place} is not in {list}");
        }
    };
    check(
        "a.test",
        &["a.test", "b.a.test"],
        &["xa.test", "test", "a.test.example", "192.0.2.1"],
    );
    check(".a.test", &["a.test", "b.a.test"], &["xa.test"]);
    check("*.a.test", &["b.a.test", "c.b.a.test"], &["a.test", "xa.test"]);
    check("a.test:8443", &["a.test:8443"], &["a.test"]);
    check("*:8443", &["a.test:8443", "192.0.2.1:8443"], &["a.test"]);
    check(
        "192.0.2.1,[2001:db8::1], ::ffff:192.0.2.9",
        &["192.0.2.1", "[2001:db8::1]", "192.0.2.9"],
        &["192.0.2.2"],
    );
    check(
        "10.0.0.0/8 2001:db8::/32",
        &["10.255.0.1", "[2001:db8:1::5]"],
        &["11.0.0.1", "[2001:db9::1]", "a.test"],
    );
    check("0.0.0.0/0", &["10.0.0.1"], &["[2001:db8::1]", "a.test"]);
    check("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.0"]);
    check("10.0.0.0/33, 10.*, a/8, , a..test", &[], &["10.0.0.1", "a.test"]);
    check("*", &["a.test", "192.0.2.1", "[2001:db8::1]"], &[]);
    check("", &[], &["a.test"]);
}
