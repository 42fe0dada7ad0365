use super::*;
use crate::tls::testing::{Failure, Pair, client, run_program, server};
use rustls::Error;
use rustls::version::{TLS12, TLS13};
use std::collections::HashSet;
use x509_parser::prelude::ParsedExtension;

fn name(name: &str) -> Host {
    Host::Name(name.to_owned())
}

fn long_name() -> String {
    format!("{0}.{0}.test", "a".repeat(60))
}

#[test]
fn leaves_are_accepted_for_their_host_and_for_no_other() {
    let authority = CertificateAuthority::generate().unwrap();
    let check = |host: &Host, asked: &str, good: bool| {
        let server = server(authority.issue(host).unwrap());
        let mut pair = Pair::new(&Arc::new(client(&authority, &[&TLS13])), &server, asked);
        match pair.run() {
            Ok(_) => assert!(good, "{host:?} served for {asked}"),
            Err(Failure::Client(Error::InvalidCertificate(_))) => assert!(!good, "{host:?} refused for {asked}"),
            Err(other) => panic!("{host:?} for {asked}: {other:?}"),
        }
    };
    check(&name("example.test"), "example.test", true);
    check(&name("example.test"), "www.example.test", false);
    check(&name("_dmarc.example.test"), "_dmarc.example.test", true);
    check(&name(&long_name()), &long_name(), true);
    check(&name(&long_name()), "example.test", false);
    check(&Host::V4([192, 0, 2, 1].into()), "192.0.2.1", true);
    check(&Host::V4([192, 0, 2, 1].into()), "192.0.2.2", false);
    check(&Host::V6("2001:db8::1".parse().unwrap()), "2001:db8::1", true);
    check(&Host::V6("2001:db8::1".parse().unwrap()), "2001:db8::2", false);
}

#[test]
fn another_authority_is_not_accepted() {
    let (ours, other) = (
        CertificateAuthority::generate().unwrap(),
        CertificateAuthority::generate().unwrap(),
    );
    for (trusted, good) in [(&ours, true), (&other, false)] {
        let server = server(ours.issue(&name("example.test")).unwrap());
        let mut pair = Pair::new(&Arc::new(client(trusted, &[&TLS12])), &server, "example.test");
        assert_eq!(pair.run().is_ok(), good);
    }
}

// Proves: T11.
#[test]
fn a_leaf_says_what_clients_look_for() {
    let authority = CertificateAuthority::generate().unwrap();
    let (_, ca) = X509Certificate::from_der(authority.certificate()).unwrap();
    let key = authority.issue(&name("example.test")).unwrap();
    let (_, leaf) = X509Certificate::from_der(&key.cert[0]).unwrap();

    assert_eq!(leaf.issuer(), ca.subject());
    assert_eq!(leaf.subject().to_string(), "CN=example.test");
    leaf.verify_signature(Some(ca.public_key())).unwrap();
    ca.verify_signature(None).unwrap();

    let now = unix_now() as i64;
    let validity = leaf.validity();
    assert!(validity.not_before.timestamp() <= now - HOUR as i64, "backdated");
    assert!(
        validity.not_after.timestamp() - validity.not_before.timestamp() <= LEAF_LIFE as i64,
        "a week"
    );
    assert!(
        validity.not_after.timestamp() > now + (LEAF_LIFE / 2) as i64,
        "more than the half that it is served"
    );

    let identifiers = |certificate: &X509Certificate<'_>| {
        let (mut own, mut issuer) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => own = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    issuer = id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                _ => {}
            }
        }
        (
            own.expect("a subject key identifier"),
            issuer.expect("an authority key identifier"),
        )
    };
    assert_eq!(identifiers(&leaf).1, identifiers(&ca).0);
    assert_ne!(identifiers(&leaf).0, identifiers(&ca).0);

    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any);
    assert!(!leaf.is_ca() && ca.is_ca());
    assert_eq!(
        ca.basic_constraints().unwrap().unwrap().value.path_len_constraint,
        Some(0)
    );
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
}

#[test]
fn a_long_name_has_no_common_name() {
    let authority = CertificateAuthority::generate().unwrap();
    for (host, subject) in [("a".repeat(59) + ".test", true), ("a".repeat(60) + ".test", false)] {
        let key = authority.issue(&name(&host)).unwrap();
        let (_, leaf) = X509Certificate::from_der(&key.cert[0]).unwrap();
        assert_eq!(leaf.subject().iter().count() == 1, subject, "{} bytes", host.len());
        assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().critical, !subject);
    }
}

// Proves: T11.
#[test]
fn serials_are_unique_positive_and_128_bits_long() {
    let authority = CertificateAuthority::generate().unwrap();
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let key = authority.issue(&name("example.test")).unwrap();
        let (_, leaf) = X509Certificate::from_der(&key.cert[0]).unwrap();
        assert_eq!(leaf.raw_serial().len(), 16);
        assert_eq!(leaf.raw_serial()[0] & 0x80, 0, "the sign bit");
        assert!(seen.insert(leaf.raw_serial().to_vec()), "twice the same");
    }
}

// Proves: T11.
#[test]
fn each_authority_has_its_own_name_and_key() {
    let (one, two) = (
        CertificateAuthority::generate().unwrap(),
        CertificateAuthority::generate().unwrap(),
    );
    let subject = |authority: &CertificateAuthority| {
        X509Certificate::from_der(authority.certificate())
            .unwrap()
            .1
            .subject()
            .to_string()
    };
    assert!(
        subject(&one).starts_with("O=httpjail, CN=httpjail CA "),
        "{}",
        subject(&one)
    );
    assert_ne!(subject(&one), subject(&two));
    assert_ne!(one.key_pem(), two.key_pem());
    assert!(!format!("{one:?}").contains("KEY"));
}

// Proves: T11.
#[test]
fn a_leaf_never_outlives_its_authority() {
    let now = unix_now();
    let soon = CertificateAuthority::generate_valid(now - DAY, now + HOUR).unwrap();
    let key = soon.issue(&name("example.test")).unwrap();
    let (_, leaf) = X509Certificate::from_der(&key.cert[0]).unwrap();
    assert_eq!(leaf.validity().not_after.timestamp(), (now + HOUR) as i64);

    let over = CertificateAuthority::generate_valid(now - DAY, now - HOUR).unwrap();
    assert!(matches!(
        over.issue(&name("example.test")),
        Err(AuthorityError::Expired(_))
    ));
}

#[test]
fn an_authority_comes_back_from_its_pem() {
    let first = CertificateAuthority::generate().unwrap();
    let again = CertificateAuthority::from_pem(first.certificate_pem(), &first.key_pem()).unwrap();
    assert_eq!(again.certificate(), first.certificate());
    assert_eq!(again.certificate_pem(), first.certificate_pem());
    assert_eq!(again.not_after(), first.not_after());
    let server = server(again.issue(&name("example.test")).unwrap());
    Pair::new(&Arc::new(client(&first, &[&TLS13])), &server, "example.test")
        .run()
        .unwrap();
    // Both in one text, with comments, in any order.
    let both = format!("# ours\n{}\n{}", *first.key_pem(), first.certificate_pem());
    assert_eq!(
        CertificateAuthority::from_pem(&both, &both).unwrap().certificate_pem(),
        first.certificate_pem()
    );
}

#[test]
fn what_is_no_authority_is_refused() {
    let now = unix_now();
    let make = |from, to| CertificateAuthority::generate_valid(from, to).unwrap();
    let (good, other) = (make(now - DAY, now + DAY), make(now - DAY, now + DAY));
    let (expired, early) = (make(now - DAY, now - 2), make(now + HOUR, now + DAY));

    let leaf_pair = KeyPair::generate().unwrap();
    let plain = CertificateParams::new(vec!["example.test".to_owned()])
        .unwrap()
        .self_signed(&leaf_pair)
        .unwrap()
        .pem();
    let mut unsigned = CertificateParams::new(vec![]).unwrap();
    unsigned.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    unsigned.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let unsigned = unsigned.self_signed(&leaf_pair).unwrap().pem();

    let check = |certificate: &str, key: &str, expected: &str| {
        let error = CertificateAuthority::from_pem(certificate, key).unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{expected}: {error:?}");
    };
    check(good.certificate_pem(), &other.key_pem(), "KeyMismatch");
    check(expired.certificate_pem(), &expired.key_pem(), "Expired");
    check(early.certificate_pem(), &early.key_pem(), "NotYetValid");
    check(&plain, &leaf_pair.serialize_pem(), "NotAuthority");
    check(&unsigned, &leaf_pair.serialize_pem(), "NotAuthority");
    check("", &good.key_pem(), "Certificate");
    check(&good.key_pem(), &good.key_pem(), "Certificate");
    check(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &good.key_pem(),
        "Certificate",
    );
    check(good.certificate_pem(), "", "Key");
    check(good.certificate_pem(), good.certificate_pem(), "Key");
    check(
        good.certificate_pem(),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "Key",
    );
}

#[test]
fn openssl_verifies_leaves() {
    let authority = CertificateAuthority::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("ca.crt"), authority.certificate_pem()).unwrap();
    let hosts = [
        name("example.test"),
        name(&long_name()),
        Host::V4([192, 0, 2, 1].into()),
        Host::V6([1; 8].into()),
    ];
    for host in hosts {
        let der = authority.issue(&host).unwrap();
        std::fs::write(path("leaf.der"), &der.cert[0]).unwrap();
        let (leaf, ca) = (path("leaf.der"), path("ca.crt"));
        let strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &ca, &leaf];
        let Some(said) = run_program("openssl", &strict) else {
            return;
        };
        assert!(said.unwrap().contains("leaf.der: OK"), "{host:?}");
    }
}
