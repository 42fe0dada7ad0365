use super::*;

#[track_caller]
fn check(class: Class, addresses: &[&str]) {
    for address in addresses {
        assert_eq!(classify(address.parse().unwrap()), class, "{address}");
    }
}

// Proves: S20, H20.
#[test]
fn classes() {
    use Class::*;
    check(
        Public,
        &[
            "1.1.1.1",
            "192.0.2.1",
            "198.51.100.9",
            "203.0.113.7",
            "100.63.255.255",
            "100.128.0.1",
        ],
    );
    check(
        Public,
        &[
            "2001:db8::1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::",
            "::ffff:1.1.1.1",
        ],
    );
    check(
        Public,
        &[
            "172.15.255.255",
            "172.32.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "11.0.0.1",
        ],
    );
    check(
        Unspecified,
        &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "64:ff9b::", "2002::1"],
    );
    check(
        Loopback,
        &[
            "127.0.0.1",
            "127.255.255.255",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ],
    );
    check(
        Loopback,
        &["2002:7f00:1::", "::127.0.0.1", "::ffff:0:7f00:1", "2001:0:1::80ff:fffe"],
    );
    check(
        LinkLocal,
        &[
            "169.254.169.254",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ],
    );
    check(LinkLocal, &["2001:db8::5efe:a9fe:a9fe", "2001:db8::200:5efe:a9fe:a9fe"]);
    check(
        Metadata,
        &[
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:168.63.129.16",
        ],
    );
    check(Multicast, &["224.0.0.1", "239.255.255.250", "ff02::fb"]);
    check(
        Reserved,
        &[
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.192",
            "64:ff9b:1::7f00:1",
            "100::1",
        ],
    );
    check(
        MadeUp,
        &["198.18.0.1", "198.19.255.255", "2001:2::5", "2001:2:0:ffff::"],
    );
    check(
        Private,
        &[
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "fc00::1",
            "fd12::1",
        ],
    );
    check(Private, &["fec0::1", "::ffff:10.0.0.1", "2002:a00:1::"]);
}

#[track_caller]
fn permitted(host: &str, address: &str) -> [bool; 3] {
    let host = Host::parse(host).unwrap();
    let address: IpAddr = address.parse().unwrap();
    [AddressTrust::None, AddressTrust::Observed, AddressTrust::Host]
        .map(|vouch| classify(address).permits(&host, address, vouch))
}

// Proves: S20, S17.
#[test]
fn what_a_rule_opens() {
    assert_eq!(permitted("api.test", "192.0.2.1"), [true, true, true]);
    assert_eq!(permitted("api.test", "10.0.0.1"), [false, true, true]);
    assert_eq!(permitted("10.0.0.1", "10.0.0.1"), [false, true, true]);
    assert_eq!(permitted("api.test", "127.0.0.1"), [false, false, false]);
    assert_eq!(permitted("localhost", "127.0.0.1"), [false, false, true]);
    assert_eq!(permitted("localhost", "169.254.169.254"), [false, false, false]);
    assert_eq!(permitted("127.0.0.1", "127.0.0.1"), [false, false, true]);
    assert_eq!(permitted("169.254.169.254", "169.254.169.254"), [false, false, true]);
    assert_eq!(permitted("api.test", "169.254.169.254"), [false, false, false]);
}

#[test]
fn the_log_knows_each_for_an_address() {
    use crate::audit::Record;
    for address in [
        "10.0.0.1",
        "0.0.0.0",
        "127.0.0.1",
        "169.254.1.1",
        "168.63.129.16",
        "224.0.0.1",
        "240.0.0.1",
    ] {
        let mut record = Record::new(crate::audit::EventKind::Request);
        record.reason = Some(classify(address.parse().unwrap()).as_str().to_owned());
        assert!(record.is_about_its_address(), "{address}");
    }
    assert!(Class::Own.as_str() == "address of this host" && Class::MadeUp.as_str().ends_with(" address"));
}

// Proves: S17, S20.
#[test]
fn own_addresses() {
    assert!(is_own("127.0.0.1".parse().unwrap()));
    assert!(!is_own("2001:db8:5ea::1".parse().unwrap()));
}
