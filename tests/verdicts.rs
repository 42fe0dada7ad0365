//! What the rules say is what happens, by what reached the origin.

use std::io::Read as _;

use httpjail_lab::JailBuilder;

use crate::support::{Expect as _, curl_status, has_all, lab};

/// One request by curl under these rules: the status that curl got, and what reached the origin.
#[track_caller]
fn check(options: &[&str], curl: &[&str], status: &str, reached: &[&str]) {
    let lab = lab();
    let jail = options.iter().fold(lab.jail(), |jail, option| jail.option(option));
    let outcome = curl_status(jail, curl).run().expect_stdout(status);
    let seen = lab.heard().requests.all();
    let lines: Vec<String> = seen
        .iter()
        .map(|seen| {
            format!(
                "{} {}://{}{}",
                seen.method,
                if seen.tls { "https" } else { "http" },
                seen.host,
                seen.path
            )
        })
        .collect();
    assert_eq!(lines, reached, "what reached the origin, after {outcome:#?}");
}

const ALLOW: &str = r"allow: ^https?://ok\.test/";
const ALLOW_GET: &str = r"allow-get: ^https?://ok\.test/";

#[test]
fn allowed() {
    check(
        &["-r", ALLOW],
        &["https://ok.test/a?b=c"],
        "200",
        &["GET https://ok.test/a?b=c"],
    );
    check(
        &["-r", ALLOW],
        &["http://ok.test/a?b=c"],
        "200",
        &["GET http://ok.test/a?b=c"],
    );
    check(
        &["-r", ALLOW],
        &["--http1.1", "https://ok.test/"],
        "200",
        &["GET https://ok.test/"],
    );
}

// Proves: H06.
#[test]
fn no_rule_no_request() {
    check(&[], &["https://ok.test/"], "403", &[]);
    check(&[], &["http://ok.test/"], "403", &[]);
}

#[test]
fn another_host_is_denied() {
    check(&["-r", ALLOW], &["https://evil.test/"], "403", &[]);
    check(&["-r", ALLOW], &["http://evil.test/"], "403", &[]);
}

#[test]
fn a_rule_may_name_a_method() {
    check(
        &["-r", ALLOW_GET],
        &["https://ok.test/"],
        "200",
        &["GET https://ok.test/"],
    );
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        check(&["-r", ALLOW_GET], &["-X", method, "https://ok.test/"], "403", &[]);
    }
    check(
        &["-r", r"allow-post: ^https://ok\.test/"],
        &["--data", "x", "https://ok.test/echo"],
        "200",
        &["POST https://ok.test/echo"],
    );
}

#[test]
fn the_first_match_wins() {
    let deny_part = r"deny: ^https://ok\.test/private/";
    check(
        &["-r", deny_part, "-r", ALLOW],
        &["https://ok.test/private/x"],
        "403",
        &[],
    );
    check(
        &["-r", deny_part, "-r", ALLOW],
        &["https://ok.test/public"],
        "200",
        &["GET https://ok.test/public"],
    );
    check(
        &["-r", ALLOW, "-r", deny_part],
        &["https://ok.test/private/x"],
        "200",
        &["GET https://ok.test/private/x"],
    );
}

// Proves: H04.
#[test]
fn what_is_judged_is_the_canonical_url() {
    let private = ["-r", r"deny: ^https://ok\.test/private/", "-r", ALLOW];
    for spelling in [
        "https://ok.test/public/../private/x",
        "https://ok.test/%70rivate/x",
        "https://OK.test./private/x",
    ] {
        check(&private, &["--path-as-is", spelling], "403", &[]);
    }
}

// Proves: H01.
#[test]
fn the_host_header_decides_and_must_agree() {
    check(
        &["-r", ALLOW],
        &["-H", "Host: evil.test", "http://ok.test/"],
        "403",
        &[],
    );
    check(
        &["-r", ALLOW],
        &["-H", "Host: evil.test", "https://ok.test/"],
        "421",
        &[],
    );
    // The address comes from the judged name, not from where the program dialled.
    let elsewhere = ["--connect-to", "ok.test:80:198.51.100.3:80", "http://ok.test/"];
    let lab = lab();
    curl_status(lab.jail().rule(ALLOW), &elsewhere)
        .run()
        .expect_stdout("200");
    let reached = lab.requests_for("ok.test")[0].local.ip().to_canonical();
    assert!(
        reached == httpjail_lab::WORLD_V4 || reached == httpjail_lab::WORLD_V6,
        "{reached}"
    );
}

#[test]
fn dry_run_judges_and_lets_pass() {
    let lab = lab();
    let jail = lab.jail().rule(ALLOW).option("--dry-run");
    let outcome = curl_status(jail, &["https://evil.test/"]).run().expect_stdout("200");
    assert_eq!(
        outcome.events_with(&[("event", "request"), ("verdict", "deny")]).len(),
        1,
        "{outcome:#?}"
    );
    assert_eq!(lab.requests_for("evil.test").len(), 1);
}

#[test]
fn log_only_judges_nothing() {
    let lab = lab();
    let jail = lab.jail().option("--log-only");
    let outcome = curl_status(jail, &["https://evil.test/"]).run().expect_stdout("200");
    assert_eq!(outcome.events_with(&[("event", "request")]).len(), 1, "{outcome:#?}");
    assert_eq!(lab.requests_for("evil.test").len(), 1);
}

#[test]
fn without_interception_the_host_name_decides() {
    let lab = lab();
    let ca = lab.upstream_ca();
    let passed = |url: &str| {
        let jail = lab
            .jail()
            .rule(r"allow: ^https://ok\.test/")
            .option("--no-tls-intercept");
        curl_status(jail, &["--cacert", ca.to_str().unwrap(), url]).run()
    };
    passed("https://ok.test/").expect_code(0).expect_stdout("200");
    assert_eq!(lab.requests_for("ok.test").len(), 1);
    let refused = passed("https://evil.test/");
    assert_ne!(refused.code(), Some(0), "{refused:#?}");
    assert_eq!(lab.requests_for("evil.test").len(), 0);
}

// Proves: S20, H20, S17.
#[test]
fn special_addresses_need_a_rule_of_their_own() {
    for url in [
        "http://169.254.169.254/",
        "http://10.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://[::ffff:a9fe:a9fe]/",
    ] {
        let lab = lab();
        let outcome = curl_status(lab.jail().rule("allow: .*"), &[url]).run();
        assert_ne!(outcome.stdout, "200", "{outcome:#?}");
        assert_eq!(lab.heard().requests.all().len(), 0, "{url}");
    }
    let lab = lab();
    lab.resolve("rebind.test", &["169.254.169.254".parse().unwrap()]);
    let outcome = curl_status(lab.jail().rule("allow: .*"), &["http://rebind.test/"]).run();
    assert_ne!(outcome.stdout, "200", "{outcome:#?}");
    assert_eq!(lab.heard().requests.all().len(), 0);

    let pinned = lab.jail().rule(r"allow: ^http://169\.254\.169\.254/");
    curl_status(pinned, &["http://169.254.169.254/"])
        .run()
        .expect_stdout("200");
}

/// A route can make a whole range this host's, of which no interface tells.
// Proves: H20.
#[test]
fn an_address_that_a_route_makes_local_is_this_hosts() {
    let lab = lab();
    lab.resolve("routed.test", &["203.0.113.7".parse().unwrap()]);
    lab.resolve("routed6.test", &["2001:db8:77::7".parse().unwrap()]);
    let listener = lab
        .on_jailside(|| {
            let routes = "ip route add local 203.0.113.0/24 dev lo && ip -6 route add local 2001:db8:77::/64 dev lo";
            assert!(
                std::process::Command::new("sh")
                    .args(["-c", routes])
                    .status()?
                    .success()
            );
            // For both families: such an address of IPv6 cannot be bound to, and is reached all the same.
            let listener = std::net::TcpListener::bind("[::]:80")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .unwrap();
    let reached = || listener.accept().is_ok();
    for url in [
        "http://routed.test/",
        "http://routed6.test/",
        "http://203.0.113.7/",
        "http://[2001:db8:77::7]/",
    ] {
        let outcome = curl_status(lab.jail().rule("allow: .*"), &["--max-time", "20", url]).run();
        outcome.expect_stdout("403");
        assert!(!reached(), "{url}");
    }
    // The same for whoever names it, and for whoever is not jailed.
    let pinned = lab.jail().rule(r"allow: ^http://203\.0\.113\.7/");
    curl_status(pinned, &["--max-time", "2", "http://203.0.113.7/"]).run();
    assert!(reached());
    curl_status(lab.unjailed(), &["--max-time", "2", "http://routed6.test/"]).run();
    assert!(reached());
}

/// Rules of routing that look at ports make an address this host's for connections alone: of the address itself the kernel says
/// otherwise, and only the connection's two ends tell.
// Proves: H20.
#[test]
fn an_address_that_is_this_hosts_for_some_ports_is_told_by_the_connection() {
    let lab = lab();
    lab.resolve("ported.test", &["203.0.113.9".parse().unwrap()]);
    let listener = lab
        .on_jailside(|| {
            let rules = "ip route add local 203.0.113.9 dev lo &&
                ip rule add pref 10 lookup local && ip rule del pref 0 &&
                ip rule add pref 3 to 203.0.113.9 ipproto tcp dport 80 lookup local &&
                ip rule add pref 4 to 203.0.113.9 ipproto tcp sport 80 lookup local &&
                ip rule add pref 5 to 203.0.113.9 lookup main &&
                ! ip route get 203.0.113.9 | grep -q '^local'";
            assert!(std::process::Command::new("sh").args(["-c", rules]).status()?.success());
            let listener = std::net::TcpListener::bind("0.0.0.0:80")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .unwrap();
    // What each connection brought, to its end.
    let heard = || {
        let mut text = String::new();
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let _ = stream.read_to_string(&mut text);
        }
        text
    };
    let ask = |run: JailBuilder<'_>| curl_status(run, &["--max-time", "2", "http://ported.test/"]).run();
    ask(lab.jail().rule("allow: .*")).expect_stdout("403");
    assert_eq!(heard(), "");
    ask(lab.unjailed());
    assert!(heard().starts_with("GET / "));
}

// Proves: H10.
#[test]
fn many_requests_on_one_connection_are_each_judged() {
    let lab = lab();
    let jail = lab.jail().rule(r"allow: ^https://ok\.test/public").command([
        "curl",
        "-sS",
        "-w",
        "%{http_code} %{num_connects}\n",
        "-o",
        "/dev/null",
        "https://ok.test/public",
        "-o",
        "/dev/null",
        "https://ok.test/private",
        "-o",
        "/dev/null",
        "https://ok.test/public",
    ]);
    jail.run().expect_stdout("200 1\n403 0\n200 0");
    assert_eq!(lab.requests_for("ok.test").len(), 2);
}

/// The rule that was typed names the host to who reads it, but its dots match others too.
#[test]
fn a_private_address_is_denied_with_the_rule_that_leads_there() {
    let lab = lab();
    let jail = lab.jail().without_log().rule("allow: ^http://10.0.0.1/");
    let outcome = jail.command(["curl", "-sS", "http://10.0.0.1/"]).run();
    let meant = r"allow: ^http://10\.0\.0\.1/";
    has_all(
        &outcome.stderr,
        &[
            "denied GET http://10.0.0.1/ (private address)",
            &format!("hint: to allow it, name the host in a rule, before that one: -r '{meant}'"),
        ],
    );
    has_all(&outcome.stdout, &["10.0.0.1 is a private address", meant]);
}
