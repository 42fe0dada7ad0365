use super::*;
use crate::tls::testing::{Failure, Pair, client, client_with};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion};
use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;

fn leaves() -> (Arc<CertificateAuthority>, Leaves) {
    let authority = Arc::new(CertificateAuthority::generate().unwrap());
    (Arc::clone(&authority), Leaves::new(authority).unwrap())
}

fn name(name: &str) -> Host {
    Host::Name(name.to_owned())
}

#[test]
fn a_handshake_finishes_in_both_versions() {
    let (authority, leaves) = leaves();
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for (host, asked) in [
            (name("a.test"), "a.test"),
            (Host::V4([192, 0, 2, 1].into()), "192.0.2.1"),
        ] {
            let mut pair = Pair::new(
                &Arc::new(client(&authority, &[version])),
                &leaves.config_for(&host).unwrap(),
                asked,
            );
            assert_eq!(pair.run().unwrap(), Full);
            assert_eq!(pair.client.protocol_version(), Some(expected));
            assert_eq!(
                pair.client.negotiated_key_exchange_group().unwrap().name(),
                rustls::NamedGroup::X25519
            );
        }
    }
}

// Proves: T08.
#[test]
fn alpn_is_h2_or_http_1_1_or_nothing() {
    let (authority, leaves) = leaves();
    let check = |offered: &[&str], expected: Option<&str>| {
        let mut client = client(&authority, &[&TLS13]);
        client.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let mut pair = Pair::new(
            &Arc::new(client),
            &leaves.config_for(&name("a.test")).unwrap(),
            "a.test",
        );
        match pair.run() {
            Ok(_) => assert_eq!(pair.server.alpn_protocol(), expected.map(str::as_bytes), "{offered:?}"),
            Err(Failure::Client(error)) => assert!(expected == Some("refused"), "{offered:?}: {error}"),
            Err(other) => panic!("{offered:?}: {other:?}"),
        }
    };
    check(&["http/1.1", "h2"], Some("h2"));
    check(&["http/1.1"], Some("http/1.1"));
    check(&["h3", "http/1.1"], Some("http/1.1"));
    check(&[], None);
    check(&["ssh"], Some("refused"));
    check(&["h3", "imap"], Some("refused"));
}

#[test]
fn the_order_of_cipher_suites_is_ours() {
    let (authority, leaves) = leaves();
    for version in [&TLS12, &TLS13] {
        let mut provider = (*provider()).clone();
        let chosen = |provider: &CryptoProvider| {
            let client = client_with(Arc::new(provider.clone()), &authority, &[version]);
            let server = leaves.config_for(&name("a.test")).unwrap();
            let mut pair = Pair::new(&Arc::new(client), &server, "a.test");
            pair.run().unwrap();
            pair.client.negotiated_cipher_suite().unwrap().suite()
        };
        let ours = chosen(&provider);
        provider.cipher_suites.reverse();
        assert_eq!(chosen(&provider), ours);
        // One that lacks it gets another.
        provider.cipher_suites.retain(|suite| suite.suite() != ours);
        assert_ne!(chosen(&provider), ours);
    }
}

/// Connects once to `first` and then, with the same client's tickets, to `second`. Both hosts' sessions are put under one
/// name on the client's side, as a hostile client would do.
fn second_handshake(
    version: &'static rustls::SupportedProtocolVersion,
    first: (&Host, &str),
    second: (&Host, &str),
) -> rustls::HandshakeKind {
    let (authority, leaves) = leaves();
    let mut config: ClientConfig = client(&authority, &[version]);
    config.resumption =
        rustls::client::Resumption::store(Arc::new(OneName(rustls::client::ClientSessionMemoryCache::new(8))));
    let config = Arc::new(config);
    let mut pair = Pair::new(&config, &leaves.config_for(first.0).unwrap(), first.1);
    assert_eq!(pair.run().unwrap(), Full);
    pair.talk();
    Pair::new(&config, &leaves.config_for(second.0).unwrap(), second.1)
        .run()
        .unwrap()
}

#[derive(Debug)]
struct OneName(rustls::client::ClientSessionMemoryCache);

fn one_name() -> rustls::pki_types::ServerName<'static> {
    rustls::pki_types::ServerName::try_from("any.test").unwrap()
}

impl rustls::client::ClientSessionStore for OneName {
    fn set_kx_hint(&self, _: rustls::pki_types::ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(one_name(), group);
    }
    fn kx_hint(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&one_name())
    }
    fn set_tls12_session(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.set_tls12_session(one_name(), value);
    }
    fn tls12_session(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&one_name())
    }
    fn remove_tls12_session(&self, _: &rustls::pki_types::ServerName<'static>) {
        self.0.remove_tls12_session(&one_name());
    }
    fn insert_tls13_ticket(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(one_name(), value);
    }
    fn take_tls13_ticket(
        &self,
        _: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one_name())
    }
}

/// docs/threat-model.md T10.
// Proves: T10.
#[test]
fn a_ticket_resumes_at_its_own_host_and_nowhere_else() {
    let (a, b) = (name("a.test"), name("b.test"));
    let (one, two) = (Host::V4([192, 0, 2, 1].into()), Host::V4([192, 0, 2, 2].into()));
    for version in [&TLS12, &TLS13] {
        let check = |first, second, expected| assert_eq!(second_handshake(version, first, second), expected);
        check((&a, "a.test"), (&a, "a.test"), Resumed);
        check((&a, "a.test"), (&b, "b.test"), Full);
        // Without an SNI rustls sees no difference between the two: our own binding does.
        check((&one, "192.0.2.1"), (&one, "192.0.2.1"), Resumed);
        check((&one, "192.0.2.1"), (&two, "192.0.2.2"), Full);
        check((&a, "a.test"), (&one, "192.0.2.1"), Full);
    }
}

// Proves: T10.
#[test]
fn the_tag_of_one_host_is_no_prefix_of_anothers() {
    let hosts = [
        name("a"),
        name("a.test"),
        name("a.test.test"),
        Host::V4([97, 46, 116, 101].into()),
        Host::V6([0; 8].into()),
    ];
    for one in &hosts {
        for two in hosts.iter().filter(|two| *two != one) {
            assert!(!tag(two).starts_with(&tag(one)), "{one:?} {two:?}");
        }
    }
}

#[test]
fn a_leaf_is_kept_for_half_of_its_life() {
    let (_, leaves) = leaves();
    let now = unix_now();
    let first = leaves.config_at(&name("a.test"), now).unwrap();
    let same = |at| Arc::ptr_eq(&first, &leaves.config_at(&name("a.test"), at).unwrap());
    assert!(same(now));
    assert!(same(now + LEAF_LIFE / 2 - 1));
    assert!(!same(now + LEAF_LIFE / 2), "over half");
    let second = leaves.config_at(&name("a.test"), now + LEAF_LIFE / 2).unwrap();
    assert!(
        !Arc::ptr_eq(&second, &leaves.config_at(&name("a.test"), now).unwrap()),
        "the clock was set back"
    );
    assert!(
        !Arc::ptr_eq(&first, &leaves.config_for(&name("b.test")).unwrap()),
        "another host"
    );
}

#[test]
fn threads_that_ask_at_once_share_one_minting() {
    let (_, leaves) = leaves();
    let barrier = Barrier::new(8);
    let configs: Vec<_> = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            leaves.config_for(&name("a.test")).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(configs.iter().all(|config| Arc::ptr_eq(config, &configs[0])));
}

// Proves: D05.
#[test]
fn the_cache_is_bounded() {
    let authority = Arc::new(CertificateAuthority::generate().unwrap());
    let leaves = Leaves::with_capacity(authority, 16).unwrap();
    let mut distinct = HashSet::new();
    for number in 0..200 {
        let config = leaves.config_for(&name(&format!("n{number}.test"))).unwrap();
        distinct.insert(Arc::as_ptr(&config) as usize);
    }
    assert!(leaves.cache.len() <= 16, "{}", leaves.cache.len());
    assert!(!leaves.cache.is_empty());
}

#[test]
fn an_authority_that_is_over_gives_no_configuration() {
    let now = unix_now();
    let over = CertificateAuthority::generate_valid(now - 7200, now - 3600).unwrap();
    let error = Leaves::new(Arc::new(over))
        .unwrap()
        .config_for(&name("a.test"))
        .unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

// Proves: T03.
#[test]
fn a_server_name_is_a_host_name_or_refused() {
    let good = |sni: &str, host: &str| assert_eq!(sni_host(Some(sni)), Ok(Some(name(host))), "{sni}");
    let bad = |sni: &str| assert!(sni_host(Some(sni)).is_err(), "{sni:?}");
    assert_eq!(sni_host(None), Ok(None));
    good("example.test", "example.test");
    good("EXAMPLE.Test.", "example.test");
    good("_dmarc.xn--bcher-kva.test", "_dmarc.xn--bcher-kva.test");
    good("localhost", "localhost");
    good("1.2.3.example", "1.2.3.example");
    for sni in [
        "",
        ".",
        "..",
        "a..test",
        ".a.test",
        "a.test..",
        "*.a.test",
        "a test",
        "a\0.test",
        "bücher.test",
        // Punycode of what no name may hold.
        "xn--bcher-kwa.test",
    ] {
        bad(sni);
    }
    for sni in [
        "192.0.2.1",
        "192.0.2.1.",
        "1",
        "0x7f.1",
        "a.0x1",
        "[::1]",
        "2001:db8::1",
        "a.test:443",
        "a/b",
    ] {
        bad(sni);
    }
    bad(&"a".repeat(64));
    good(&"a".repeat(63), &"a".repeat(63));
    bad(&["a".repeat(62).as_str(); 5].join("."));
}
