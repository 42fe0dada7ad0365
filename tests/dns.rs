//! Names in the jail: answered there, asked for outside only when an allowed request needs them.

use httpjail_lab::{Lab, Outcome, canary};

use crate::support::{Expect as _, PYTHON, curl_status, lab};

const QUESTION: &str = include_str!("support/probes/question.py");
const ALLOW: &str = r"allow: ^https?://ok\.test/";

/// One question by hand; prints the response code, the number of answers and who answered.
fn ask(lab: &Lab, arguments: &[&str]) -> Outcome {
    let probe = lab.file("question.py", QUESTION);
    let mut line = vec![PYTHON, probe.to_str().unwrap()];
    line.extend(arguments);
    lab.jail().rule(ALLOW).command(line).run()
}

/// How many questions about names with `mark` in them the world heard.
fn heard(lab: &Lab, mark: &str) -> usize {
    lab.heard()
        .questions
        .filter(|question| question.name.contains(mark))
        .len()
}

// Proves: S22, S23, S21.
#[test]
fn a_question_stays_in_the_jail() {
    let lab = lab();
    let mark = canary();
    let name = format!("{mark}.attacker.test");
    lab.jail().command(["getent", "ahosts", &name]).run().expect_code(0);
    assert_eq!(heard(&lab, &mark), 0);
    assert!(!lab.wire().saw(&mark));

    lab.unjailed().command(["getent", "ahosts", &name]).run().expect_code(0);
    assert!(heard(&lab, &mark) > 0, "the name server hears what is asked outside");
}

#[test]
fn an_answer_is_made_up_and_stays_the_same() {
    let lab = lab();
    let twice = lab
        .jail()
        .shell("getent ahostsv4 ok.test; getent ahostsv4 other.test; getent ahostsv4 ok.test")
        .run();
    let stream: Vec<&str> = twice.stdout.lines().filter(|line| line.contains("STREAM")).collect();
    let address = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(stream.len(), 3, "{twice:#?}");
    assert_eq!(address(stream[0]), address(stream[2]), "{twice:#?}");
    assert_ne!(address(stream[0]), address(stream[1]), "{twice:#?}");
    assert!(
        address(stream[0]).starts_with("198.18.") || address(stream[0]).starts_with("198.19."),
        "{twice:#?}"
    );
}

// Proves: S21, S25.
#[test]
fn any_server_that_is_named_is_ours() {
    let lab = lab();
    let mark = canary();
    for server in ["198.51.100.2", "198.51.100.3", "8.8.8.8", "2001:db8:99::3"] {
        for transport in ["udp", "tcp"] {
            let name = format!("{mark}.test");
            let answer = ask(&lab, &[transport, server, &name, "A"]).expect_code(0);
            // The answer comes from the address that was asked, or a client throws it away.
            assert_eq!(answer.stdout.trim(), format!("0 1 {server}"), "{answer:#?}");
        }
    }
    assert!(!lab.wire().saw(&mark));
}

// Proves: S22, S06.
#[test]
fn only_addresses_are_answered() {
    let lab = lab();
    let mark = canary();
    for kind in ["TXT", "NULL", "CNAME", "MX", "SVCB", "HTTPS", "ANY", "SRV"] {
        let name = format!("{mark}.test");
        let answer = ask(&lab, &["udp", "198.51.100.2", &name, kind]).expect_code(0);
        assert_eq!(answer.stdout.split(' ').nth(1), Some("0"), "{kind}: {answer:#?}");
    }
    assert_eq!(heard(&lab, &mark), 0);
    assert!(!lab.wire().saw(&mark));
}

// Proves: S22, H20.
#[test]
fn the_proxy_resolves_what_is_allowed_and_nothing_else() {
    let lab = lab();
    curl_status(lab.jail().rule(ALLOW), &["https://evil.test/"])
        .run()
        .expect_stdout("403");
    assert_eq!(heard(&lab, "evil.test"), 0);
    curl_status(lab.jail().rule(ALLOW), &["https://ok.test/"])
        .run()
        .expect_stdout("200");
    assert!(heard(&lab, "ok.test") > 0);
}

#[test]
fn a_name_that_nobody_knows_is_a_bad_gateway() {
    let lab = lab();
    let jail = lab.jail().rule("allow: ^http://name\\.invalid/");
    curl_status(jail, &["http://name.invalid/"]).run().expect_stdout("502");
}

/// `getent` for a name, with this `--dns`; prints the first address.
fn look_up(lab: &Lab, mode: &str, name: &str) -> Outcome {
    let script = format!("getent ahostsv4 {name} | awk '/STREAM/ {{print $1}}'");
    lab.jail().rule(ALLOW).option("--dns").option(mode).shell(&script).run()
}

/// One question by hand, with this `--dns`.
fn ask_with(lab: &Lab, mode: &str, arguments: &[&str]) -> Outcome {
    let probe = lab.file("question.py", QUESTION);
    let mut line = vec![PYTHON, probe.to_str().unwrap()];
    line.extend(arguments);
    lab.jail().rule(ALLOW).option("--dns").option(mode).command(line).run()
}

#[test]
fn a_relay_asks_the_hosts_servers_and_logs_the_names() {
    let lab = lab();
    let (mark, silent) = (canary(), canary());
    let real = look_up(&lab, "relay", &format!("{mark}.test")).expect_stdout("198.51.100.2");
    assert!(heard(&lab, &mark) > 0);
    let logged = real.events_with(&[("event", "dns"), ("verdict", "allow"), ("dst", "198.51.100.2:53")]);
    let name = format!("{mark}.test");
    assert!(logged.iter().any(|event| event["host"] == *name), "{real:#?}");

    let made_up = look_up(&lab, "synthetic", &format!("{silent}.test"));
    assert!(made_up.stdout.starts_with("198.1"), "{made_up:#?}");
    assert_eq!(heard(&lab, &silent), 0);
}

#[test]
fn a_relay_asks_no_server_that_the_program_names() {
    let lab = lab();
    // Nobody answers at 198.51.100.9, and nothing is sent there.
    for (transport, kind) in [("udp", "A"), ("tcp", "A"), ("udp", "TXT")] {
        let mark = canary();
        let name = format!("{mark}.test");
        let answer = ask_with(&lab, "relay", &[transport, "198.51.100.9", &name, kind]).expect_code(0);
        let count = if kind == "A" { 1 } else { 0 };
        assert_eq!(answer.stdout.trim(), format!("0 {count} 198.51.100.9"), "{answer:#?}");
        let asked = lab.heard().questions.filter(|question| question.name == name);
        assert_eq!(asked.len(), 1, "{asked:#?}");
        assert_eq!(
            (asked[0].server.to_string().as_str(), asked[0].kind.as_str()),
            ("198.51.100.2:53", kind)
        );
    }
}

#[test]
fn an_open_relay_asks_the_server_that_the_program_names() {
    let lab = lab();
    for (transport, server) in [
        ("udp", "198.51.100.2"),
        ("udp", "2001:db8:99::2"),
        ("tcp", "198.51.100.2"),
        ("tcp", "2001:db8:99::2"),
    ] {
        let name = format!("{}.test", canary());
        let answer = ask_with(&lab, "open", &[transport, server, &name, "A"]).expect_code(0);
        assert_eq!(answer.stdout.trim(), format!("0 1 {server}"), "{answer:#?}");
        let asked = lab.heard().questions.filter(|question| question.name == name);
        assert_eq!(asked.len(), 1, "{asked:#?}");
        assert_eq!(asked[0].server.ip().to_string(), server);
        assert_ne!(asked[0].peer.ip().to_string(), "127.0.0.1");
    }
    // What names no server asks the host's.
    look_up(&lab, "open", "ok.test").expect_stdout("198.51.100.2");
    // A server that does not answer is not replaced by another.
    let mark = canary();
    let name = format!("{mark}.test");
    let answer = ask_with(&lab, "open", &["tcp", "198.51.100.4", &name, "A"]);
    assert!(answer.stdout.starts_with("2 0"), "{answer:#?}");
    assert_eq!(heard(&lab, &mark), 0);
}

#[test]
fn without_dns_every_question_is_refused() {
    let lab = lab();
    let mark = canary();
    for (transport, server) in [
        ("udp", "198.51.100.2"),
        ("tcp", "198.51.100.2"),
        ("udp", "2001:db8:99::2"),
    ] {
        let answer = ask_with(&lab, "off", &[transport, server, &format!("{mark}.test"), "A"]).expect_code(0);
        assert_eq!(answer.stdout.trim(), format!("5 0 {server}"), "{answer:#?}");
        let refused = answer.events_with(&[("event", "dns"), ("verdict", "deny"), ("reason", "dns is off")]);
        assert_eq!(refused.len(), 1, "{answer:#?}");
    }
    assert_eq!(heard(&lab, &mark), 0);
    // The address that a program knows is still the proxy's to judge.
    let by_address = ["--resolve", "ok.test:443:198.51.100.2", "https://ok.test/"];
    curl_status(lab.jail().rule(ALLOW).option("--dns").option("off"), &by_address)
        .run()
        .expect_stdout("200");
}

#[test]
fn verdicts_do_not_depend_on_where_names_come_from() {
    let lab = lab();
    for mode in ["synthetic", "relay", "open"] {
        let jail = || lab.jail().rule(ALLOW).option("--dns").option(mode);
        curl_status(jail(), &["https://ok.test/"]).run().expect_stdout("200");
        curl_status(jail(), &["http://ok.test/"]).run().expect_stdout("200");
        curl_status(jail(), &["https://evil.test/"]).run().expect_stdout("403");
        // A real address lends its rule to no other name.
        let astray = ["--connect-to", "evil.test:443:ok.test:443", "https://evil.test/"];
        curl_status(jail(), &astray).run().expect_stdout("403");
    }
    assert!(lab.requests_for("evil.test").is_empty());
}

#[test]
fn among_a_names_addresses_the_one_that_was_asked_for_is_dialled() {
    let lab = lab();
    let addresses = ["198.51.100.2", "198.51.100.3", "198.51.100.4"].map(|ip| ip.parse().unwrap());
    lab.resolve("ok.test", &addresses);
    for chosen in ["198.51.100.3", "198.51.100.4"] {
        let by_address = ["--resolve", &format!("ok.test:443:{chosen}"), "https://ok.test/"];
        curl_status(lab.jail().rule(ALLOW).option("--dns").option("relay"), &by_address)
            .run()
            .expect_stdout("200");
        let seen = lab.requests_for("ok.test");
        assert_eq!(seen.last().unwrap().local.ip().to_string(), chosen, "{seen:#?}");
    }
}
