//! Real clients, as they are installed: each trusts what httpjail shows it, without an option or a warning.

use httpjail_lab::Lab;

use crate::support::{Expect as _, have, lab};

/// `client` fetches `https://ok.test/bytes/5` and prints the body; one request must reach the origin over TLS.
#[track_caller]
fn check(client: &str, line: &[&str]) {
    if !have(client) {
        return;
    }
    for as_user in [false, true] {
        let lab = lab();
        let jail = lab.jail().rule(r"allow-get: ^https://ok\.test/");
        let jail = if as_user { jail.as_user() } else { jail };
        let outcome = jail.command(line).run().expect_code(0).expect_stdout("xxxxx");
        let complaint = outcome.stderr.to_ascii_lowercase();
        for word in ["certificate", "warn", "verif", "insecure"] {
            assert!(!complaint.contains(word), "{outcome:#?}");
        }
        reached_once(&lab);
    }
}

#[track_caller]
fn reached_once(lab: &Lab) {
    let seen = lab.requests_for("ok.test");
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert!(seen[0].tls && seen[0].method == "GET", "{seen:#?}");
}

#[test]
fn curl() {
    check("curl", &["curl", "-sS", "https://ok.test/bytes/5"]);
    check("curl", &["curl", "-sS", "--http1.1", "https://ok.test/bytes/5"]);
}

#[test]
fn wget() {
    check(
        "wget",
        &["wget", "-nv", "-O", "-", "-o", "/dev/null", "https://ok.test/bytes/5"],
    );
}

#[test]
fn python_urllib() {
    let script = "import urllib.request as r; print(r.urlopen('https://ok.test/bytes/5').read().decode())";
    check("python3", &["/usr/bin/python3", "-c", script]);
}

#[test]
fn node_fetch() {
    let script = "fetch('https://ok.test/bytes/5').then(r => r.text()).then(t => console.log(t))";
    check("node", &["node", "-e", script]);
}

#[test]
fn node_https() {
    let script = "require('https').get('https://ok.test/bytes/5', r => r.on('data', d => process.stdout.write(d)))";
    check("node", &["node", "-e", script]);
}

#[test]
fn git_clone() {
    if !have("git") {
        return;
    }
    for as_user in [false, true] {
        let lab = lab();
        lab.git_repository("project").unwrap();
        let script = "cd && git clone -q https://ok.test/git/project.git && cat project/file";
        let jail = lab.jail().rule(r"allow-get: ^https://ok\.test/git/");
        let jail = if as_user { jail.as_user() } else { jail };
        jail.shell(script).run().expect_code(0).expect_stdout("content");
        let seen = lab.requests_for("ok.test");
        assert!(seen.iter().all(|seen| seen.tls) && !seen.is_empty(), "{seen:#?}");
    }
}

#[test]
fn openssl_s_client() {
    if !have("openssl") {
        return;
    }
    let lab = lab();
    let script = "printf 'GET /bytes/5 HTTP/1.1\\r\\nHost: ok.test\\r\\nConnection: close\\r\\n\\r\\n' |
        openssl s_client -connect ok.test:443 -servername ok.test -verify_return_error -ign_eof 2>&1";
    let outcome = lab
        .jail()
        .rule(r"allow-get: ^https://ok\.test/")
        .shell(script)
        .run()
        .expect_code(0);
    assert!(outcome.stdout.contains("Verify return code: 0 (ok)"), "{outcome:#?}");
    reached_once(&lab);
}

/// `lo` carries segments of more than 64 KiB whole, over IPv6 behind a header that the kernel adds: an upload of 30 MB
/// took two minutes, each such packet refused, logged, and sent again in pieces.
#[test]
fn a_large_upload_over_either_protocol() {
    if !have("curl") {
        return;
    }
    let lab = lab();
    let body = lab.file("body", vec![b'x'; 8 << 20]);
    let script = "curl -sS --fail $1 -o /dev/null --data-binary @$0 https://ok.test/echo";
    for protocol in ["-4", "-6"] {
        let line = ["sh", "-c", script, body.to_str().unwrap(), protocol];
        let jail = lab.jail().rule(r"allow-post: ^https://ok\.test/echo$");
        let outcome = jail.command(line).run().expect_code(0);
        assert_eq!(
            outcome.events_with(&[("event", "blocked")]).len(),
            0,
            "{protocol}: {outcome:#?}"
        );
    }
    let bodies: Vec<usize> = lab.requests_for("ok.test").iter().map(|seen| seen.body.len()).collect();
    assert_eq!(bodies, [8 << 20, 8 << 20]);
}
