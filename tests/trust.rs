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

/// Chromium prints the page at `url`. As root it refuses to run with its sandbox, so it needs to be told.
fn chromium(lab: &Lab, run: JailBuilder<'_>, as_user: bool, url: &str) -> Outcome {
    let profile = lab.home(if as_user { "labuser" } else { "root" }).join("profile");
    let flags = "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --disable-dev-shm-usage --dump-dom";
    let mut line = vec!["chromium".to_owned(), format!("--user-data-dir={}", profile.display())];
    line.extend(flags.split_whitespace().map(str::to_owned));
    line.extend((!as_user).then(|| "--no-sandbox".to_owned()));
    line.push(url.to_owned());
    let run = if as_user { run.as_user() } else { run };
    run.command(line).run()
}

#[test]
fn chromium_trusts_the_proxy_in_the_jail_alone() {
    if !have("chromium") {
        return;
    }
    let url = "https://ok.test/bytes/5";
    for as_user in [false, true] {
        let lab = lab();
        let inside = chromium(&lab, lab.jail().rule(ALLOW), as_user, url);
        assert!(inside.stdout.contains("xxxxx"), "{inside:#?}");
        let seen = lab.requests_for("ok.test");
        assert!(seen.iter().any(|seen| seen.path == "/bytes/5" && seen.tls), "{seen:#?}");
    }
    let lab = lab();
    let outside = chromium(&lab, lab.unjailed(), false, url);
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

#[test]
fn a_strict_umask_hides_nothing_from_the_user_and_stays() {
    let lab = lab();
    let strict = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let look = "umask; ls /run/httpjail/certs | wc -l; test ! -d /etc/chromium || cat /etc/chromium/policies/managed/*.json >/dev/null";
    let inside = lab.jail().as_user().through(strict).shell(look).run();
    inside.expect_code(0).expect_stdout("0077\n1");
}

/// `httpjail ca ...` as `user` in `lab`, in a mount namespace whose trust store is a copy; `more` runs there afterwards.
fn ca(lab: &Lab, as_user: bool, arguments: &str, more: &str) -> Outcome {
    let sudo = if as_user {
        "setpriv --reuid labuser --regid labuser --init-groups sudo -n"
    } else {
        ""
    };
    let script = format!(
        "set -e; umask 077
        mount -t tmpfs -o mode=755 none /usr/local/share/ca-certificates
        mkdir -p -m 755 certs; cp -a /etc/ssl/certs/. certs; mount --bind certs /etc/ssl/certs
        ca() {{ HOME={home} {sudo} {binary} ca \"$@\"; }}
        as_user() {{ setpriv --reuid labuser --regid labuser --clear-groups \"$@\"; }}
        ca {arguments}
        cat $(ca path) > mine.crt; chmod 644 mine.crt
        {more}",
        home = lab.home(if as_user { "labuser" } else { "root" }).display(),
        binary = lab.binary().display(),
    );
    lab.unjailed().command(["unshare", "-m", "sh", "-c", &script]).run()
}

/// As any user, with the certificate that there was at the start.
const TRUSTED: &str = "as_user openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt mine.crt >/dev/null 2>&1";

// Proves: K03.
#[test]
fn the_authority_is_shown_and_is_the_one_that_jails_trust() {
    let lab = lab();
    for as_user in [false, true] {
        let more = "openssl x509 -in $(ca path) -noout -fingerprint -sha256; ca show | openssl x509 -noout -subject";
        let shown = ca(&lab, as_user, "show", more).expect_code(0);
        let fingerprints: Vec<&str> = (shown.stdout.lines())
            .filter_map(|line| {
                line.strip_prefix("SHA-256: ")
                    .or(line.strip_prefix("sha256 Fingerprint="))
            })
            .collect();
        assert!(
            fingerprints.len() == 2 && fingerprints[0] == fingerprints[1],
            "{shown:#?}"
        );
        assert!(shown.stdout.contains("subject=O = httpjail"), "{shown:#?}");

        let path = ca(&lab, as_user, "path", "").expect_code(0).stdout;
        let user = if as_user { "labuser" } else { "root" };
        assert_eq!(Path::new(path.trim()), lab.home(user).join(".config/httpjail/ca.crt"));
        let jail = lab.jail();
        let jail = if as_user { jail.as_user() } else { jail };
        let inside = jail
            .shell("openssl x509 -in $SSL_CERT_DIR/../ca.crt -noout -fingerprint -sha256")
            .run();
        assert!(inside.stdout.contains(fingerprints[0]), "{inside:#?}");
    }
}

#[test]
fn a_rotated_authority_is_another_one() {
    let lab = lab();
    let fingerprint = |arguments: &str| {
        let outcome = ca(&lab, true, arguments, "").expect_code(0);
        let line = outcome
            .stdout
            .lines()
            .find(|line| line.starts_with("SHA-256: "))
            .map(str::to_owned);
        line.unwrap_or_else(|| panic!("{outcome:#?}"))
    };
    let first = fingerprint("show");
    assert_eq!(fingerprint("show"), first);
    let second = fingerprint("rotate");
    assert_ne!(first, second);
    assert_eq!(fingerprint("show"), second);
}

// Proves: K03.
#[test]
fn only_install_touches_the_systems_trust_store() {
    if !have("update-ca-certificates") || !have("openssl") {
        return;
    }
    let lab = lab();
    for as_user in [false, true] {
        ca(&lab, as_user, "show", &format!("! {TRUSTED}")).expect_code(0);
        let more = format!(
            "{TRUSTED}; as_user cat /etc/ssl/certs/httpjail-*.pem >/dev/null; ca rotate 2>&1 >/dev/null; ca remove; ! {TRUSTED}; ls /usr/local/share/ca-certificates"
        );
        let installed = ca(&lab, as_user, "install", &more).expect_code(0);
        assert!(installed.stderr.contains("this system now trusts"), "{installed:#?}");
        let expected = "warning: the system still trusts the authority that is no more\n\
            hint: run `httpjail ca install` again, or `httpjail ca remove`";
        installed.expect_stdout(expected);
    }
    // Whoever may not write there is told how.
    let path = lab.home("labuser").display().to_string();
    let line = [
        "env",
        &format!("HOME={path}"),
        lab.binary().to_str().unwrap(),
        "ca",
        "install",
    ];
    lab.unjailed()
        .as_user()
        .command(line)
        .run()
        .expect_code(125)
        .expect_stderr_has("hint: try it with sudo");
}

// Proves: K09.
#[test]
fn install_is_led_by_no_variable_and_no_link() {
    if !have("update-ca-certificates") || !have("openssl") {
        return;
    }
    let lab = lab();
    let more = format!(
        r#"mkdir evil; printf '#!/bin/sh\ntouch ${{0%%/*}}/was-run; exec /bin/sed "$@"' > evil/sed; chmod 755 evil/sed
        ln -s $PWD/evil/was-written /usr/local/share/ca-certificates/httpjail-0.new
        (PATH=$PWD/evil:$PATH; ca install); {TRUSTED}; ls evil
        PATH=$PWD/evil:$PATH; sed p </dev/null; ls evil"#
    );
    let outcome = ca(&lab, false, "show", &more).expect_code(0);
    assert!(outcome.stdout.ends_with("sed\nsed\nwas-run\n"), "{outcome:#?}");
}
