use super::*;
use crate::tls::CertificateAuthority;
use crate::tls::testing::run_program;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

fn section(body: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn merged(files: &[&str]) -> Bundle {
    let files = files
        .iter()
        .enumerate()
        .map(|(n, text)| (format!("file {n}"), Ok(text.as_bytes().to_vec())));
    merge(&files.collect::<Vec<_>>()).with(&section("OURS"))
}

#[test]
fn sections_are_found_as_they_stand() {
    let check = |text: &str, expected: Result<&[&str], &'static str>| {
        let found = certificate_sections(text.as_bytes());
        let expected = expected.map(|bodies| bodies.iter().map(|body| section(body).trim_end().to_owned()).collect());
        let found = found.map(|all| {
            all.iter()
                .map(|one| String::from_utf8(one.to_vec()).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "{text:?}");
    };
    let (a, b) = (section("AAAA"), section("BB=="));
    check(&a, Ok(&["AAAA"]));
    check(a.trim_end(), Ok(&["AAAA"]));
    check(&format!("{a}{b}"), Ok(&["AAAA", "BB=="]));
    check(
        &format!("# Größe\n\n{a}\n# two\n  {b}junk after"),
        Ok(&["AAAA", "BB=="]),
    );
    check(
        &format!("{}{a}", a.replace("CERTIFICATE", "PRIVATE KEY")),
        Ok(&["AAAA"]),
    );
    check(&a.replace("CERTIFICATE", "PRIVATE KEY"), Err("no certificate in it"));
    check("", Err("no certificate in it"));
    check("root:x:0:0", Err("no certificate in it"));
    check(&section("A!A"), Err("a certificate is not base64"));
    check("-----BEGIN CERTIFICATE-----\nAAAA\n", Err("a certificate is cut off"));
    check(
        "-----END CERTIFICATE-----\n",
        Err("a certificate ends before it begins"),
    );
    check(
        &format!("-----BEGIN CERTIFICATE-----\n{a}"),
        Err("a certificate is not base64"),
    );
}

#[test]
fn line_ends_of_either_kind_are_taken() {
    let text = section("AAAA").replace('\n', "\r\n");
    assert_eq!(
        certificate_sections(text.as_bytes()).unwrap(),
        [text.trim_end().as_bytes()]
    );
}

#[test]
fn the_bundle_has_ours_first_and_each_root_once() {
    let (a, b) = (section("AAAA"), section("BBBB"));
    let bundle = merged(&[&format!("# a\n{a}{b}"), &format!("{b}{}{a}", section("OURS"))]);
    assert_eq!(
        String::from_utf8(bundle.pem).unwrap(),
        format!("{}{a}{b}", section("OURS"))
    );
    assert_eq!((bundle.roots, bundle.notes.len()), (2, 0));
}

#[test]
fn a_malformed_file_is_left_out_with_a_note() {
    let bundle = merged(&[
        "junk\x1b",
        &section("AAAA"),
        &format!("{}{}", section("BBBB"), section("!")),
    ]);
    assert_eq!(
        String::from_utf8(bundle.pem).unwrap(),
        section("OURS") + &section("AAAA")
    );
    assert_eq!(
        bundle.notes,
        [
            "file 0: no certificate in it; left out",
            "file 2: a certificate is not base64; left out"
        ]
    );
}

#[test]
fn files_are_read_up_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let authority = CertificateAuthority::generate().unwrap();
    let root = CertificateAuthority::generate().unwrap();
    fs::write(path("roots"), root.certificate_pem()).unwrap();
    // Nothing is wrong with what stands within the bound: the length alone is.
    let long = CertificateAuthority::generate().unwrap().certificate_pem().to_owned();
    fs::write(path("long"), long + &"#".repeat(LONGEST_BUNDLE as usize)).unwrap();
    let bundle = bundle(
        authority.certificate_pem(),
        &[
            path("none"),
            path("long"),
            dir.path().to_owned(),
            "/dev/zero".into(),
            path("roots"),
        ],
    );
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bundle.pem)
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(found, [authority.certificate().clone(), root.certificate().clone()]);
    assert_eq!(bundle.notes.len(), 4, "{:?}", bundle.notes);
}

#[test]
fn bundles_are_found_once_each_below_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(dir.path()).unwrap();
    assert_eq!(existing_paths(&root), Vec::<PathBuf>::new());
    fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
    fs::create_dir_all(root.join("etc/pki/tls/certs/ca-bundle.crt")).unwrap();
    fs::write(root.join("etc/ssl/certs/ca-certificates.crt"), "").unwrap();
    std::os::unix::fs::symlink("certs/ca-certificates.crt", root.join("etc/ssl/cert.pem")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("etc/ssl/ca-bundle.pem")).unwrap();
    assert_eq!(existing_paths(&root), [root.join("etc/ssl/certs/ca-certificates.crt")]);
}

#[test]
fn this_hosts_bundle_is_read_whole() {
    let files = existing_paths(Path::new("/"));
    if files.is_empty() {
        println!("skipped: this host has no certificate bundle");
        return;
    }
    let authority = CertificateAuthority::generate().unwrap();
    let bundle = bundle(authority.certificate_pem(), &files);
    assert_eq!(bundle.notes, Vec::<String>::new());
    assert_eq!(
        CertificateDer::pem_slice_iter(&bundle.pem)
            .filter(Result::is_ok)
            .count(),
        bundle.roots + 1
    );
}

// Proves on ebpf, netns, rootless: K04.
#[test]
fn the_environment_names_each_variable_once() {
    let all = |dir| {
        environment(TrustPaths {
            bundle: "/b",
            ca: "/c",
            dir,
        })
    };
    let value = |all: &[(&str, String)], name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, v)| v.clone());
    let with = all(Some("/d"));
    let names: HashSet<_> = with.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), with.len());
    for (name, expected) in [
        ("SSL_CERT_FILE", Some("/b")),
        ("GIT_SSL_CAINFO", Some("/b")),
        ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Some("/b")),
        ("NODE_EXTRA_CA_CERTS", Some("/c")),
        ("DENO_CERT", Some("/c")),
        ("SSL_CERT_DIR", Some("/d")),
        ("JAVA_TOOL_OPTIONS", None),
    ] {
        assert_eq!(value(&with, name).as_deref(), expected, "{name}");
    }
    assert_eq!(value(&all(None), "SSL_CERT_DIR"), None);
}

#[test]
fn what_the_callers_environment_names_is_found_once() {
    let set = |name: &str| match name {
        "SSL_CERT_FILE" | "REQUESTS_CA_BUNDLE" => Some("/corporate".into()),
        "NODE_EXTRA_CA_CERTS" => Some("/node".into()),
        "PIP_CERT" => Some("".into()),
        "HOME" => Some("/home".into()),
        _ => None,
    };
    assert_eq!(inherited_bundles(set), [PathBuf::from("/corporate"), "/node".into()]);
    assert_eq!(inherited_bundles(|_| None), Vec::<PathBuf>::new());
}

#[test]
fn openssl_verifies_by_the_directory_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (
        CertificateAuthority::generate().unwrap(),
        CertificateAuthority::generate().unwrap(),
    );
    fs::write(
        dir.path().join(hashed_name(ca.certificate()).unwrap()),
        ca.certificate_pem(),
    )
    .unwrap();
    let leaf = dir.path().join("leaf.der");
    let host = crate::net::Host::Name("a.test".into());
    let verify = |by: &CertificateAuthority| {
        fs::write(&leaf, &by.issue(&host).unwrap().cert[0]).unwrap();
        let by_directory = [
            "verify",
            "-no-CAfile",
            "-no-CAstore",
            "-CApath",
            dir.path().to_str().unwrap(),
        ];
        run_program("openssl", &[&by_directory[..], &[leaf.to_str().unwrap()]].concat())
    };
    let Some(said) = verify(&ca) else { return };
    assert!(said.unwrap().contains("leaf.der: OK"));
    assert!(
        verify(&other)
            .unwrap()
            .unwrap_err()
            .contains("unable to get local issuer certificate")
    );
}

#[test]
fn openssl_finds_us_under_the_hashed_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    let check = |pem: &str, der: &CertificateDer<'_>| {
        fs::write(&path, pem).unwrap();
        let said = run_program("openssl", &["x509", "-noout", "-hash", "-in", path.to_str().unwrap()])?;
        assert_eq!(hashed_name(der), Some(format!("{}.0", said.unwrap().trim())));
        Some(())
    };
    let authority = CertificateAuthority::generate().unwrap();
    if check(authority.certificate_pem(), authority.certificate()).is_none() {
        return;
    }
    // Blanks, case, letters beyond ASCII, several kinds of strings, and a name longer than DER's short length.
    let long = "Long ".repeat(40);
    for name in ["  Two   Words ", "ÄÖ Größe", "plain", long.as_str()] {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let printable = rcgen::string::PrintableString::try_from("DE").unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CountryName, rcgen::DnValue::PrintableString(printable));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        check(&certificate.pem(), certificate.der());
    }
    assert_eq!(hashed_name(&CertificateDer::from(vec![0x30, 0])), None);
}
