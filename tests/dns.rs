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
