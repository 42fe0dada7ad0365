//! A "badssl" in memory: chains with one thing wrong each, beside a good one that differs in nothing else.

use super::fault::explain;
use super::*;
use crate::tls::testing::{Failure, Pair, server};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

/// An authority of the test's own: its certificate and what signs with it.
struct Root {
    der: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Root {
    fn new(name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        Root {
            pem: certificate.pem(),
            der: certificate.into(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Signs `params` for a new key.
    fn sign(&self, params: &CertificateParams) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        certified(vec![params.signed_by(&key, &self.issuer).unwrap().into()], &key)
    }

    /// Signs `params` with an intermediate in between that `change` has spoilt.
    fn sign_below(&self, params: &CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertifiedKey {
        let (mut middle, middle_key) = (authority_params("middle"), KeyPair::generate().unwrap());
        change(&mut middle);
        let middle_der = middle.signed_by(&middle_key, &self.issuer).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &Issuer::new(middle, middle_key)).unwrap();
        certified(vec![leaf.into(), middle_der.into()], &key)
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> CertifiedKey {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::new(chain, rustls::crypto::ring::sign::any_supported_type(&der).unwrap())
}

/// What a good server's certificate says.
fn good() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["good.test".to_owned(), "192.0.2.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn but(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = good();
    change(&mut params);
    params
}

/// What `--upstream-ca` reads.
fn file(pem: &str) -> AuthorityFile {
    AuthorityFile {
        path: "named.pem".into(),
        pem: pem.as_bytes().to_vec(),
    }
}

fn fault(failure: Failure) -> UpstreamFault {
    match failure {
        Failure::Client(error) => explain(&error),
        Failure::Server(error) => panic!("the server gave up: {error}"),
    }
}

/// Connects to `asked` where `key` answers, with a client that trusts `root` by way of `--upstream-ca`.
fn connect(root: &Root, key: CertifiedKey, asked: &str) -> Result<(), UpstreamFault> {
    let trust = UpstreamTls::new(&[file(&root.pem)], None).unwrap();
    let configs = trust.build(Vec::new(), &[]).unwrap();
    Pair::new(&configs.h1h2, &server(key), asked)
        .run()
        .map(drop)
        .map_err(fault)
}

// Proves: T01.
#[test]
fn a_bad_chain_is_refused_and_its_good_twin_is_not() {
    let root = Root::new("root");
    let check = |key: CertifiedKey, asked: &str, expected: Option<&str>| match (connect(&root, key, asked), expected) {
        (Ok(()), None) => {}
        (Err(fault), Some(expected)) => {
            let said = format!("{fault:?} {fault}");
            assert!(said.contains(expected), "{expected}: {said}");
        }
        (result, expected) => panic!("{asked}: {result:?} instead of {expected:?}"),
    };
    let untouched = |_: &mut CertificateParams| {};

    check(root.sign(&good()), "good.test", None);
    check(root.sign(&good()), "192.0.2.1", None);
    check(root.sign_below(&good(), untouched), "good.test", None);

    check(
        root.sign(&but(|p| p.not_after = date_time_ymd(2020, 1, 1))),
        "good.test",
        Some("Expired"),
    );
    check(
        root.sign(&but(|p| p.not_before = date_time_ymd(4000, 1, 1))),
        "good.test",
        Some("NotYetValid"),
    );
    check(Root::new("other").sign(&good()), "good.test", Some("UnknownIssuer"));
    // The same name as the root's, another key.
    check(Root::new("root").sign(&good()), "good.test", Some("BadSignature"));
    let own = KeyPair::generate().unwrap();
    check(
        certified(vec![good().self_signed(&own).unwrap().into()], &own),
        "good.test",
        Some("UnknownIssuer"),
    );
    check(
        root.sign(&good()),
        "other.test",
        Some("not valid for other.test, only for"),
    );
    check(root.sign(&good()), "192.0.2.2", Some("WrongName"));
    check(
        root.sign(&but(|p| p.subject_alt_names.clear())),
        "good.test",
        Some("no name at all"),
    );
    let client_only = but(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    check(root.sign(&client_only), "good.test", Some("WrongPurpose"));
    let is_authority = but(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    check(root.sign(&is_authority), "good.test", Some("OfAnAuthority"));

    check(
        root.sign_below(&good(), |p| p.not_after = date_time_ymd(2020, 1, 1)),
        "good.test",
        Some("Expired"),
    );
    let no_authority = |p: &mut CertificateParams| p.is_ca = IsCa::ExplicitNoCa;
    check(
        root.sign_below(&good(), no_authority),
        "good.test",
        Some("EndEntityUsedAsCa"),
    );
    let constrained = |tree: &'static str| {
        move |p: &mut CertificateParams| {
            let permitted_subtrees = vec![GeneralSubtree::DnsName(tree.to_owned())];
            p.name_constraints = Some(NameConstraints {
                permitted_subtrees,
                excluded_subtrees: vec![],
            });
        }
    };
    let named = but(|p| drop(p.subject_alt_names.pop())); // without the address, which the constraint would touch too
    check(root.sign_below(&named, constrained("test")), "good.test", None);
    check(
        root.sign_below(&named, constrained("example")),
        "good.test",
        Some("NameConstraintViolation"),
    );
}

/// Other clients accept an internal server's own certificate if the user names it, whatever its issuer.
// Proves: T01.
#[test]
fn a_servers_own_certificate_that_the_user_named() {
    let self_signed = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        certified(vec![params.self_signed(&key).unwrap().into()], &key)
    };
    let check = |server: &CertifiedKey, named: &CertifiedKey, asked: &str, expected: Option<&str>| {
        let trust = UpstreamTls {
            extra: vec![named.cert[0].clone()],
            own: None,
            configs: OnceLock::new(),
        };
        let configs = trust.build(vec![Root::new("root").der], &[]).unwrap();
        let outcome = Pair::new(&configs.h1h2, &self::server(server.clone()), asked).run();
        match (outcome.map(drop).map_err(fault), expected) {
            (Ok(()), None) => {}
            (Err(fault), Some(expected)) => assert!(format!("{fault:?}").contains(expected), "{fault:?}"),
            (result, expected) => panic!("{asked}: {result:?} instead of {expected:?}"),
        }
    };
    let authority = |p: &mut CertificateParams| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = self_signed(but(authority));
    check(&own, &own, "good.test", None);
    check(&own, &own, "192.0.2.1", None);
    check(&own, &own, "other.test", Some("WrongName"));
    // The same words under another key.
    check(&self_signed(but(authority)), &own, "good.test", Some("OfAnAuthority"));
    let over = self_signed(but(|p| {
        authority(p);
        p.not_after = date_time_ymd(2020, 1, 1);
    }));
    check(&over, &over, "good.test", Some("Expired"));
    let signed = Root::new("unknown").sign(&good());
    check(&signed, &signed, "good.test", None);
    check(&signed, &signed, "other.test", Some("WrongName"));
    check(&signed, &own, "good.test", Some("UnknownIssuer"));
    let over = Root::new("unknown").sign(&but(|p| p.not_after = date_time_ymd(2020, 1, 1)));
    check(&over, &over, "good.test", Some("Expired"));
}

/// What no library of ours would sign with: openssl makes it.
// Proves: T01.
#[test]
fn weak_keys_and_signatures_are_refused() {
    let check = |key: &str, digest: &str, expected: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let steps = [
            format!("req -x509 -newkey {key} -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=weak"),
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=good.test \
             -addext subjectAltName=DNS:good.test"
                .to_owned(),
            format!("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -days 5 -copy_extensions copy {digest} -out leaf.pem"),
        ];
        for step in steps {
            let paths = |word: &str| match word.contains(".key") || word.contains(".pem") || word.contains(".csr") {
                true => at(word),
                false => word.to_owned(),
            };
            let words: Vec<String> = step.split_whitespace().map(paths).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let Some(done) = crate::tls::testing::run_program("openssl", &words) else {
                return;
            };
            done.unwrap();
        }
        let read = |name| std::fs::read(at(name)).unwrap();
        let leaf = CertificateDer::from_pem_slice(&read("leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read("leaf.key")).unwrap();
        let key = CertifiedKey::new(
            vec![leaf],
            rustls::crypto::ring::sign::any_supported_type(&key).unwrap(),
        );
        let trust = UpstreamTls::new(&[file(&String::from_utf8(read("ca.pem")).unwrap())], None).unwrap();
        let configs = trust.build(Vec::new(), &[]).unwrap();
        let outcome = Pair::new(&configs.h1, &server(key), "good.test")
            .run()
            .map(drop)
            .map_err(fault);
        let said = outcome.err().map(|fault| format!("{fault:?}"));
        match (said, expected) {
            (None, None) => {}
            (Some(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
            other => panic!("{digest}: {other:?}"),
        }
    };
    check("rsa:2048", "-sha256", None);
    check("rsa:1024", "-sha256", Some("BadSignature"));
    check("rsa:2048", "-sha1", Some("UnsupportedSignatureAlgorithm"));
}

/// What was said before the handshake is done could be said again by anybody (RFC 8446 section 8).
// Proves: T07.
#[test]
fn no_early_data_on_either_leg() {
    let trust = UpstreamTls::new(&[file(&Root::new("root").pem)], None).unwrap();
    assert!(!trust.config_h1().unwrap().enable_early_data);
    assert!(!trust.config_h1h2().unwrap().enable_early_data);
    let authority = Arc::new(CertificateAuthority::generate().unwrap());
    let leaves = crate::tls::Leaves::new(authority).unwrap();
    let leaf = leaves.config_for(&crate::net::Host::Name("a.test".into())).unwrap();
    assert_eq!(leaf.max_early_data_size, 0);
}

// Proves: T01.
#[test]
fn our_own_authority_vouches_for_nobody_upstream() {
    let own = CertificateAuthority::generate().unwrap();
    let another = CertificateAuthority::generate().unwrap();
    let trust = UpstreamTls::new(&[], Some(&own)).unwrap();
    // Both in the system's store, as after `httpjail ca install`, or in a jail within a jail.
    let configs = trust
        .build(vec![own.certificate().clone(), another.certificate().clone()], &[])
        .unwrap();
    let host = crate::net::Host::Name("good.test".into());
    let reach = |by: &CertificateAuthority| {
        Pair::new(&configs.h1, &server(by.issue(&host).unwrap()), "good.test")
            .run()
            .map(drop)
            .map_err(fault)
    };
    assert_eq!(reach(&another), Ok(()));
    assert_eq!(reach(&own), Err(UpstreamFault::UnknownIssuer));
}

// Proves: T01.
#[test]
fn without_roots_nothing_is_verified_and_the_reason_is_given() {
    let root = Root::new("root");
    let none = UpstreamTls::new(&[], None).unwrap();
    let error = none.build(Vec::new(), &["/etc/nowhere: not found".into()]).unwrap_err();
    assert!(matches!(error, UpstreamError::NoRoots { .. }));
    assert!(
        error.to_string().ends_with("can be verified: /etc/nowhere: not found"),
        "{error}"
    );
    assert!(none.build(vec![root.der.clone()], &[]).is_ok());
    let junk = CertificateDer::from(vec![1, 2, 3]);
    assert!(none.build(vec![junk.clone()], &[]).is_err(), "nothing but junk");
    assert!(
        none.build(vec![junk, root.der.clone()], &[]).is_ok(),
        "junk beside a root"
    );
}

#[test]
fn an_extra_authority_must_be_one() {
    let root = Root::new("root");
    let check = |pems: &[&str], expected: Option<&str>| {
        let files = pems.iter().map(|pem| file(pem)).collect::<Vec<_>>();
        match (UpstreamTls::new(&files, None), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{expected}: {error}"),
            (result, expected) => panic!("{result:?} instead of {expected:?}"),
        }
    };
    check(&[], None);
    check(&[&root.pem, &format!("# two\n{0}{0}", root.pem)], None);
    check(&[&root.pem, ""], Some("in named.pem: it holds"));
    check(&["what"], Some("in named.pem: "));
    check(
        &["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
        Some("in named.pem: "),
    );
    check(
        &["-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"],
        Some("in named.pem: "),
    );
}

#[test]
fn each_configuration_offers_its_protocols() {
    let trust = UpstreamTls::new(&[file(&Root::new("root").pem)], None).unwrap();
    let protocols = |config: Arc<ClientConfig>| config.alpn_protocols.clone();
    assert_eq!(
        protocols(trust.config_h1h2().unwrap()),
        [b"h2".to_vec(), b"http/1.1".to_vec()]
    );
    assert_eq!(protocols(trust.config_h1().unwrap()), [b"http/1.1".to_vec()]);
    assert!(
        Arc::ptr_eq(&trust.config_h1().unwrap(), &trust.config_h1().unwrap()),
        "made once"
    );
}

/// A server that wants a client certificate, and one that has no protocol in common with us.
#[test]
fn other_refusals_are_told_apart() {
    let root = Root::new("root");
    let trust = UpstreamTls::new(&[file(&root.pem)], None).unwrap();
    let configs = trust.build(Vec::new(), &[]).unwrap();
    let reach = |versions: &[&'static SupportedProtocolVersion], mutual: bool, alpn: &str| {
        let mut roots = RootCertStore::empty();
        roots.add(root.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match mutual {
            true => builder.with_client_cert_verifier(verifier.build().unwrap()),
            false => builder.with_no_client_auth(),
        };
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(root.sign(&good())));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Pair::new(&configs.h1h2, &Arc::new(config), "good.test")
            .run()
            .map(drop)
            .map_err(fault)
    };
    for version in [&TLS12, &TLS13] {
        assert_eq!(reach(&[version], false, "h2"), Ok(()));
        let refusal = reach(&[version], false, "imap").unwrap_err();
        assert!(matches!(refusal, UpstreamFault::NoCommonProtocol(_)), "{refusal:?}");
    }
    assert_eq!(
        reach(&[&TLS13], true, "h2"),
        Err(UpstreamFault::ClientCertificateRequired)
    );
    assert_eq!(
        reach(&[&TLS12], true, "h2"),
        Err(UpstreamFault::ClientCertificateRequired)
    );
}

#[test]
fn an_io_error_is_explained_if_tls_caused_it() {
    use std::io::{Error, ErrorKind};
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    let caused = Error::new(ErrorKind::InvalidData, alert);
    assert_eq!(explain_io(&caused), Some(UpstreamFault::ClientCertificateRequired));
    assert_eq!(explain_io(&Error::from(ErrorKind::ConnectionReset)), None);
    assert_eq!(explain_io(&Error::other("else")), None);
}

#[test]
fn a_strangers_names_are_cut_and_escaped() {
    let presented = ["\x1b[2Ja.test", "b\u{202e}.test", "c", "d", "e", "f"]
        .map(str::to_owned)
        .to_vec();
    let expected = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let error = rustls::CertificateError::NotValidForNameContext { expected, presented };
    let said = explain(&rustls::Error::InvalidCertificate(error)).to_string();
    assert!(!said.contains(['\x1b', '\u{202e}']), "{said:?}");
    assert!(said.ends_with("c, d and 2 more"), "{said}");
}
