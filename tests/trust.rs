//! Clients that bring their own roots: each trusts the proxy in the jail without being told, and outside it does not.

use std::path::Path;

use httpjail_lab::{JailBuilder, Lab, Outcome};

use crate::support::{Expect as _, have, lab};

const ALLOW: &str = r"allow-get: ^https://ok\.test/";
const GET: &str = include_str!("support/probes/Get.java");

fn java(lab: &Lab, run: JailBuilder<'_>, options: &[&str], url: &str) -> Outcome {
    let program = lab.file("Get.java", GET);
    let mut line = vec!["java"];
    line.extend(options);
    line.extend([program.to_str().unwrap(), url]);
    run.command(line).run()
}

#[test]
fn java_trusts_the_proxy_in_the_jail_alone() {
    if !have("java") {
        return;
    }
    let lab = lab();
    let url = "https://ok.test/bytes/5";
    for (options, as_user) in [
        (&[][..], false),
        (&["-Djavax.net.ssl.trustStorePassword=changeit"], true),
    ] {
        let jail = lab.jail().rule(ALLOW);
        let jail = if as_user { jail.as_user() } else { jail };
        let got = java(&lab, jail, options, url).expect_code(0).expect_stdout("200 xxxxx");
        assert_eq!(got.stderr, "", "{got:#?}");
    }
    assert_eq!(lab.requests_for("ok.test").len(), 2);
    let denied = java(&lab, lab.jail().rule(ALLOW), &[], "https://evil.test/").expect_code(0);
    assert!(denied.stdout.starts_with("403 "), "{denied:#?}");

    // The lab's origin is signed by somebody whom nobody trusts.
    let outside = java(&lab, lab.unjailed(), &[], url);
    assert!(
        outside.code() != Some(0) && outside.stderr.contains("PKIX"),
        "{outside:#?}"
    );
}

#[test]
fn a_java_store_has_the_systems_roots_too() {
    if !have("keytool") {
        return;
    }
    let lab = lab();
    let count = |run: JailBuilder<'_>, password: &str| {
        let list = run
            .shell(&format!("keytool -list -cacerts {password} </dev/null 2>&1"))
            .run();
        list.stdout
            .lines()
            .filter(|line| line.contains("trustedCertEntry"))
            .count()
    };
    let bundle = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    let roots = bundle.matches("BEGIN CERTIFICATE").count();
    // With the password its digest is checked, without it is not.
    assert_eq!(count(lab.jail(), "-storepass changeit"), roots + 1);
    assert_eq!(count(lab.jail(), ""), roots + 1);
    assert_eq!(count(lab.jail(), "-storepass another"), 0);
}

fn chromium<'lab>(lab: &Lab, run: JailBuilder<'lab>, url: &str) -> JailBuilder<'lab> {
    let profile = lab.fresh_path("profile");
    let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --disable-dev-shm-usage --dump-dom";
    let mut line = vec!["chromium".to_owned(), format!("--user-data-dir={}", profile.display())];
    line.extend(flags.split_whitespace().map(str::to_owned));
    line.push(url.to_owned());
    run.command(line)
}

#[test]
fn chromium_trusts_the_proxy_in_the_jail_alone() {
    if !have("chromium") {
        return;
    }
    let lab = lab();
    let url = "https://ok.test/bytes/5";
    let inside = chromium(&lab, lab.jail().rule(ALLOW), url).run();
    assert!(inside.stdout.contains("xxxxx"), "{inside:#?}");
    let seen = lab.requests_for("ok.test");
    assert!(seen.iter().any(|seen| seen.path == "/bytes/5" && seen.tls), "{seen:#?}");

    let outside = chromium(&lab, lab.unjailed(), url).run();
    assert!(!outside.stdout.contains("xxxxx"), "{outside:#?}");
    assert!(!Path::new("/etc/chromium/policies/managed/httpjail.json").exists());
}

#[test]
fn a_folder_that_is_covered_keeps_what_was_in_it() {
    let lab = lab();
    if !Path::new("/etc/chromium").is_dir() {
        eprintln!("skipped: there is no /etc/chromium");
        return;
    }
    let list = "cd /etc/chromium && find . ! -path './policies*' | sort && cat master_preferences 2>/dev/null";
    let outside = lab.unjailed().shell(list).run().expect_code(0);
    lab.jail()
        .shell(list)
        .run()
        .expect_code(0)
        .expect_stdout(outside.stdout.trim());
    let policy = "cat /etc/chromium/policies/managed/httpjail.json; touch /etc/chromium/policies/x";
    let inside = lab.jail().shell(policy).run();
    assert!(
        inside.stdout.starts_with("{\"CACertificates\": [\"MII") && inside.code() != Some(0),
        "{inside:#?}"
    );
}
