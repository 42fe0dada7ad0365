use clap::Parser as _;

use super::*;
use crate::cli::args::{Cli, Other};

fn config(line: &[&str]) -> Config {
    let cli = Cli::parse_from(["httpjail"].iter().chain(line).chain(&["--", "npm", "ci"]));
    match cli.other {
        Some(Other::Learn(learn)) => learn.configure(None),
        _ => cli.run.configure(None),
    }
    .expect("a configuration")
}

fn request(verdict: Decision, method: &str, url: &str, rule: Option<&str>, reason: Option<&str>) -> Record {
    let mut record = Record::new(EventKind::Request);
    record.verdict = Some(verdict);
    (record.method, record.url) = (Some(method.into()), Some(url.into()));
    record.host = Some("a.test".into());
    record.comm = Some("npm\x1b[2J".into());
    (record.rule, record.reason) = (rule.map(str::to_owned), reason.map(str::to_owned));
    record
}

fn stats(line: &[&str], records: &[Record]) -> SharedRunStats {
    let stats = SharedRunStats::new(&config(line)).expect("stats");
    records.iter().for_each(|record| stats.lock().see(record));
    stats
}

#[test]
fn only_what_no_rule_is_about_is_learnt() {
    let records = [
        request(Decision::Allow, "GET", "https://a.test/x", None, None),
        request(
            Decision::Allow,
            "GET",
            "https://a.test/known",
            Some("allow: known"),
            None,
        ),
        request(
            Decision::Deny,
            "GET",
            "https://a.test/bad",
            Some("deny: bad"),
            Some("denied by rule"),
        ),
        request(
            Decision::Deny,
            "GET",
            "https://a.test/odd",
            None,
            Some("malformed request"),
        ),
    ];
    let findings = stats(&["learn"], &records).findings();
    let patterns: Vec<&str> = findings.learned.iter().map(|rule| rule.pattern.as_str()).collect();
    assert_eq!((patterns, findings.requests), (vec![r"^https://a\.test/x$"], 1));
    let by: Vec<&String> = findings.learned[0].programs.iter().collect();
    assert_eq!(by, [r"npm\x1b[2J"]);
    assert_eq!(stats(&[], &records).findings(), RunFindings::default());
}

#[test]
fn locked_names_what_the_policy_denied() {
    let none = Some("no rule matched");
    let records = [
        request(Decision::Deny, "GET", "https://a.test/x?token=secret", None, none),
        request(Decision::Deny, "GET", "https://a.test/x?token=other", None, none),
        request(
            Decision::Deny,
            "POST",
            "https://a.test/y",
            Some("deny: y"),
            Some("denied by rule"),
        ),
        request(
            Decision::Deny,
            "GET",
            "https://a.test/odd",
            None,
            Some("malformed request"),
        ),
        request(Decision::Allow, "GET", "https://a.test/z", Some("allow: z"), None),
    ];
    let stats = stats(&["--locked", "p.yaml"], &records);
    let expected = [
        "error: the command asked for what p.yaml does not allow:",
        r"  GET https://a.test/x?… by npm\x1b[2J, 2 times",
        r"  POST https://a.test/y by npm\x1b[2J",
        "hint: to allow all of it: httpjail learn --update -o p.yaml -- COMMAND",
    ];
    assert_eq!(stats.last_words(), expected);
    assert_eq!(stats.findings().denied, 3);
    let content = self::stats(&["--locked", "p.yaml"], &records[3..]);
    assert!(content.last_words().is_empty() && content.findings().denied == 0);
}

#[test]
fn locked_names_so_many_and_no_more() {
    let url = |number: usize| format!("https://a.test/{number}");
    let denied = |number| request(Decision::Deny, "GET", &url(number), None, Some("no rule matched"));
    let records: Vec<Record> = (0..NAMED_MAX + 7).map(denied).collect();
    let lines = stats(&["--locked", "p.yaml"], &records).last_words();
    assert_eq!(lines.len(), NAMED_MAX + 3);
    assert_eq!(lines[NAMED_MAX + 1], "  and 7 more");
}

#[test]
fn the_summary_is_said_at_the_end() {
    let records = [request(Decision::Allow, "GET", "https://a.test/x", None, None)];
    let said = |option: &str| stats(&[option], &records).last_words();
    assert_eq!(
        said("--summary")[0],
        "httpjail: 1 request allowed, 0 denied; 0 B sent, 0 B received"
    );
    assert!(said("--summary=json")[0].starts_with('{') && said("--summary=json").len() == 1);
    assert!(stats(&[], &records).last_words().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_noted_is_read() {
    let shared_findings = SharedFindings::new().expect("memory");
    shared_findings.read().expect_err("nothing was written yet");
    let findings = stats(
        &["learn"],
        &[request(Decision::Allow, "GET", "https://a.test/x", None, None)],
    )
    .findings();
    shared_findings.write(&findings).expect("it can be written");
    assert_eq!(shared_findings.read().expect("findings"), findings);
}
