use proptest::prelude::*;

use super::*;

/// Each spelling becomes the canonical one, which is its own canonical spelling.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (spelling, canonical) in cases {
        let host = Host::parse(spelling).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
        assert_eq!(host.to_string(), *canonical, "{spelling:?}");
        assert_eq!(
            Host::parse(canonical),
            Ok(host),
            "{canonical:?} is not its own canonical spelling"
        );
    }
}

#[track_caller]
fn refused(spellings: &[&str]) {
    for spelling in spellings {
        assert!(
            Host::parse(spelling).is_err(),
            "{spelling:?} became {:?}",
            Host::parse(spelling)
        );
    }
}

// Proves: H03.
#[test]
fn names() {
    check(&[
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("ExAmPlE.CoM.", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("localhost.", "localhost"),
        ("a", "a"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("r3---sn-abc.example", "r3---sn-abc.example"),
        ("1.example", "1.example"),
        ("1e3", "1e3"),
        ("0xg", "0xg"),
        ("127.0.0.1.example", "127.0.0.1.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("example。com", "example.com"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("exam\u{ad}ple.com", "example.com"),
    ]);
}

// Proves: H03.
#[test]
fn not_names() {
    let long_label = format!("{}.com", "a".repeat(64));
    let long_name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62)].join(".");
    let huge = "a.".repeat(1000);
    refused(&[
        "",
        ".",
        "..",
        ".example.com",
        "example..com",
        "example.com..",
        "a b",
        " example.com",
        "example.com ",
        "example.com\t",
        "example.com\n",
        "exam\0ple.com",
        "exam%70le.com",
        "%65xample.com",
        "user@example.com",
        "user:pw@example.com",
        "a,b",
        "example.com:80",
        "example.com/",
        "example.com?x",
        "example.com#x",
        "a\\b",
        "*.example.com",
        "-a.example",
        "a-.example",
        "a+b",
        "a'b",
        "a\"b",
        "a<b",
        "a;b",
        "a=b",
        "a|b",
        "a~b",
        "a!b",
        "\u{7f}",
        "\u{80}",
        "\u{202e}moc.example",
        "xn--",
        "xn--a.example",
        "xn--\u{fc}.example",
        "a\u{2028}b",
        "exa\u{2100}mple.com",
        &long_label,
        &long_name,
        &huge,
    ]);
}

#[test]
fn lengths_at_their_limits() {
    let label = "a".repeat(63);
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(name.len(), 253);
    check(&[(&label, &label), (&name, &name), (&format!("{name}."), &name)]);
}

// Proves: H03, S20, S15.
#[test]
fn ipv4_has_one_form() {
    check(&[
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("169.254.169.254", "169.254.169.254"),
    ]);
    refused(&[
        "127.1",
        "127.0.1",
        "127",
        "0",
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0X7F000001",
        "017700000001",
        "127.0.0.01",
        "127.0.0.0x1",
        "00.0.0.0",
        "256.0.0.1",
        "127.0.0.1.1",
        "1.2.3.4.5",
        "1.2.3",
        "example.1",
        "example.0x",
        "example.0x1f",
        "127.0.0.1..",
        "4294967296",
        "99999999999999999999",
        "1..1.1",
        "127.0.0.1:80",
        "+127.0.0.1",
        "127.0.0.-1",
        "①②⑦.0.0.01",
    ]);
}

// Proves: H03, S15.
#[test]
fn ipv6_has_one_form() {
    check(&[
        ("[::1]", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[0000:0000:0000:0000:0000:0000:0000:0001]", "[::1]"),
        ("[::]", "[::]"),
        ("[2001:DB8::A]", "[2001:db8::a]"),
        ("[2001:db8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::ffff:7f00:1]", "127.0.0.1"),
        ("[::FFFF:169.254.169.254]", "169.254.169.254"),
        ("[::127.0.0.1]", "[::7f00:1]"),
        ("[64:ff9b::10.0.0.1]", "[64:ff9b::a00:1]"),
    ]);
    refused(&[
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[",
        "]",
        "[[::1]]",
        "[::1].",
        "[::1]x",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[::1%]",
        "[1::2::3]",
        "[12345::]",
        "[::ffff:127.1]",
        "[::ffff:0177.0.0.1]",
        "[127.0.0.1]",
        "[example.com]",
        "[v1.fe80]",
        "[ ::1]",
        "[::1 ]",
        "fe80::1",
        "[1:2:3:4:5:6:7:8:9]",
    ]);
}

#[test]
fn name_or_address() {
    let name = Host::parse("Example.com").expect("a host");
    assert_eq!((name.as_name(), name.ip()), (Some("example.com"), None));
    let address = Host::parse("[::ffff:10.0.0.1]").expect("a host");
    assert_eq!(
        (address.as_name(), address.ip()),
        (None, Some(IpAddr::from([10, 0, 0, 1])))
    );
    assert_eq!(Host::from(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1])), address);
}

proptest! {
    #[test]
    fn canonical_is_its_own_canonical_spelling(text in "\\PC{0,40}|[a-zA-Z0-9._-]{1,70}|\\[[0-9a-fA-F:.]{2,40}\\]|[0-9x.]{1,16}|[a-züßΣ。.]{1,20}") {
        if let Ok(host) = Host::parse(&text) {
            let canonical = host.to_string();
            prop_assert!(canonical.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'[' | b']' | b':')));
            prop_assert!(!canonical.ends_with('.'));
            prop_assert_eq!(Host::parse(&canonical), Ok(host));
        }
    }

    #[test]
    fn every_address_survives(v4: [u8; 4], v6: [u16; 8]) {
        for address in [IpAddr::from(v4), IpAddr::from(v6)] {
            let host = Host::from(address);
            prop_assert_eq!(host.ip(), Some(address.to_canonical()));
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }
}
