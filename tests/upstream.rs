//! What a client gets from servers that are not like others: what it would get without a jail.

use httpjail_lab::{JailBuilder, Lab};

use crate::support::origins::OddOrigins;
use crate::support::{Expect as _, PYTHON, has_all, have, lab};

const ALLOW: &str = r"allow: ^https?://ok\.test[:/]";
const AUTHENTICATES: &str = include_str!("support/probes/authenticates.py");

/// NTLM and its like prove once who a connection belongs to. Whoever has proved that goes on over the same one, and nobody
/// else gets it, also where the server offers HTTP/2.
// Proves: H10.
#[test]
fn a_connection_that_has_authenticated() {
    let lab = lab();
    let _origins = OddOrigins::start(&lab);
    let client = lab.file("authenticates.py", AUTHENTICATES);
    let outcome = lab
        .jail()
        .rule(ALLOW)
        .command([PYTHON, client.to_str().unwrap(), "ok.test"])
        .run()
        .expect_code(0);
    outcome.expect_stdout(
        "9601 beside_others 401 401 200 200 over 1\n9601 stranger 401 401\n9601 websocket 401 401 200 200 101 same\n\
         9602 beside_others 401 401 200 200 over 1\n9602 stranger 401 401\n9602 websocket 401 401 200 200 101 same",
    );
}

/// curl speaks HTTP/2 until it is asked for NTLM, which has no place there.
// Proves: H10.
#[test]
fn curl_authenticates_by_ntlm() {
    if !have("curl") {
        return;
    }
    let lab = lab();
    let _origins = OddOrigins::start(&lab);
    let script = "for how in --http2 --http1.1; do for url in https://ok.test:9602/ http://ok.test:9601/; do \
                  curl -sS --max-time 20 $how --anyauth -u user:password -o /dev/null -o /dev/null -w '%{http_code} ' $url $url; \
                  curl -sS --max-time 20 $how -o /dev/null -w '%{http_code}\n' $url; done; done";
    lab.jail()
        .rule(ALLOW)
        .shell(script)
        .run()
        .expect_code(0)
        .expect_stdout("200 200 401\n200 200 401\n200 200 401\n200 200 401");
}

/// What curl printed for two uploads over each version: the answer and its status, on a line.
#[track_caller]
fn uploads(lab: &Lab, port: u16, bytes: usize) -> Vec<String> {
    let body = lab.file("body", "x".repeat(bytes));
    let script = format!(
        "for how in --http2 --http1.1; do for i in 1 2; do curl -sS --max-time 30 $how --data-binary @{} \
         -w ' %{{http_code}}' https://ok.test:{port}/ | tr '\\n' ' '; echo; done; done",
        body.display()
    );
    let outcome = lab.jail().rule(ALLOW).shell(&script).run().expect_code(0);
    outcome.stdout.lines().map(|line| line.trim().to_owned()).collect()
}

/// A server of HTTP/2 sends a request back unread when it goes away or has enough to do. A client by itself sends it again.
#[test]
fn uploads_that_come_back_unread() {
    if !have("curl") {
        return;
    }
    let lab = lab();
    let _origins = OddOrigins::start(&lab);
    let (small, large) = ("3 479980042 200", "100000 4261876081 200");
    // Refused at once; one request a connection; HTTP/1.1 wanted.
    for (port, bytes, told) in [(9603, 3, small), (9604, 100_000, large), (9606, 100_000, large)] {
        assert_eq!(uploads(&lab, port, bytes), [told; 4], "{port}");
    }
    // Refused when more of it has gone than is kept: whoever can is told to send it again, and does.
    let (huge, told) = ("1000000 1668570050 200", uploads(&lab, 9605, 1_000_000));
    assert_eq!([&told[0], &told[1], &told[3]], [huge; 3], "{told:?}");
    let words = "not processed; safe to repeat";
    assert!(told[2].contains(words) && told[2].ends_with(" 502"), "{told:?}");
}

/// `openssl req -x509` makes certificates that say that they are an authority's; internal servers show them as their own.
// Proves: T01.
#[test]
fn a_server_that_has_signed_its_own_certificate() {
    let lab = lab();
    let origins = OddOrigins::start(&lab);
    let ask = |jail: JailBuilder<'_>, host: &str| {
        let line = ["curl", "-sS", "--max-time", "20", "-w", " %{http_code}"].map(str::to_owned);
        let line = line.into_iter().chain([format!("https://{host}:9607/")]);
        jail.rule("allow: .").command(line).run().expect_code(0).stdout
    };
    let named = || lab.jail().option("--upstream-ca").option(&origins.own);
    assert_eq!(ask(named(), "ok.test"), "0 0 200");
    let other = ask(named(), "evil.test");
    assert!(
        other.contains("not valid for evil.test") && other.ends_with(" 502"),
        "{other}"
    );
    let unnamed = ask(lab.jail(), "ok.test");
    has_all(&unnamed, &["--upstream-ca", "basicConstraints=CA:FALSE", " 502"]);
}

/// The word for a file in which there is nothing to trust.
#[test]
fn a_file_that_is_no_authority() {
    let lab = lab();
    let jail = lab
        .jail()
        .option("--upstream-ca")
        .option("/etc/passwd")
        .command(["true"]);
    jail.run()
        .expect_code(2)
        .expect_stderr_has("cannot use the authorities in /etc/passwd: it holds no certificate");
}
