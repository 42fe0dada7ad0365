//! What is said of which record, and what is held back.

use super::*;
use crate::audit::CERTIFICATE_REFUSED;
use std::time::Duration;

fn request(verdict: Decision, url: &str) -> Record {
    Record {
        verdict: Some(verdict),
        method: Some("GET".into()),
        url: Some(url.into()),
        pid: Some(12),
        comm: Some("curl".into()),
        ..Record::new(EventKind::Request)
    }
}

fn notices(show: Show) -> Notices {
    Notices::new(StderrPolicy {
        show,
        no_rules: None,
        suggest: true,
        mend: true,
    })
}

#[track_caller]
fn check(show: Show, record: &Record, line: Option<&str>) {
    let lines = notices(show).lines(record, Instant::now());
    assert_eq!(lines, line.map(str::to_owned).into_iter().collect::<Vec<_>>());
}

#[test]
fn wording() {
    let denied = request(Decision::Deny, "https://h/p?key=1");
    let by_rule = Record {
        rule: Some(r"deny: \.h".into()),
        ..denied.clone()
    };
    let by_default = Record {
        reason: Some("no rule matched".into()),
        comm: None,
        ..denied.clone()
    };
    let allowed = Record {
        status: Some(200),
        pid: None,
        ..request(Decision::Allow, "https://h/p?")
    };
    let failed = Record {
        status: Some(502),
        reason: Some("connect failed".into()),
        failure: Some("connecting to h failed: connection refused.".into()),
        ..request(Decision::Allow, "https://h/p?")
    };
    let broken = Record {
        status: Some(200),
        ..failed.clone()
    };
    let dst = Some("192.0.2.1:22".parse().unwrap());
    let verdict = Some(Decision::Deny);
    let reason = Some("not http".to_owned());
    let refused = Record {
        verdict,
        dst,
        reason,
        ..Record::new(EventKind::Refused)
    };
    let blocked = Record {
        verdict,
        dst,
        host: Some("a.test".into()),
        ..Record::new(EventKind::Blocked)
    };
    let nameless = Record {
        verdict,
        reason: Some("dns opcode".into()),
        ..Record::new(EventKind::Dns)
    };
    let dns = Record {
        verdict,
        host: Some("x\n".into()),
        ..Record::new(EventKind::Dns)
    };

    check(
        Show::Denials,
        &denied,
        Some("httpjail: denied GET https://h/p?… by curl[12]"),
    );
    check(
        Show::Denials,
        &by_rule,
        Some(r"httpjail: denied GET https://h/p?… (rule deny: \.h) by curl[12]"),
    );
    check(
        Show::Denials,
        &by_default,
        Some("httpjail: denied GET https://h/p?… (no rule matched) by process 12"),
    );
    let shown = |record: &Record| notices(Show::Denials).lines(record, Instant::now());
    assert_eq!(
        shown(&refused),
        [
            "httpjail: refused a connection to 192.0.2.1:22 (not http)",
            "hint: only HTTP and HTTPS pass, on any port"
        ]
    );
    check(
        Show::Denials,
        &blocked,
        Some("httpjail: blocked traffic to 192.0.2.1:22 (a.test)"),
    );
    check(
        Show::Denials,
        &failed,
        Some("httpjail: failed GET https://h/p?… 502 (connecting to h failed: connection refused) by curl[12]"),
    );
    // Its client sees that by itself.
    check(Show::Denials, &broken, None);
    check(Show::Denials, &allowed, None);
    check(Show::Denials, &dns, None);
    check(Show::Denials, &Record::new(EventKind::Start), None);
    check(Show::Nothing, &denied, None);
    check(
        Show::Everything,
        &denied,
        Some("httpjail: denied GET https://h/p?… by curl[12]"),
    );
    check(
        Show::Everything,
        &allowed,
        Some("httpjail: allowed GET https://h/p?… 200 by curl"),
    );
    check(
        Show::Everything,
        &nameless,
        Some("httpjail: refused a DNS question (dns opcode)"),
    );
    check(
        Show::Everything,
        &dns,
        Some(r"httpjail: refused the DNS question x\x0a"),
    );
}

#[test]
fn the_rule_that_would_allow_it() {
    let mut notices = notices(Show::Everything);
    let mut hint = |host: &str, path: &str, rule: Option<&str>, reason: &str| {
        let record = Record {
            host: Some(host.into()),
            rule: rule.map(str::to_owned),
            reason: Some(reason.into()),
            ..request(Decision::Deny, &format!("https://{host}{path}"))
        };
        let lines = notices.lines(&record, Instant::now());
        lines
            .into_iter()
            .find_map(|line| line.strip_prefix("hint: ").map(str::to_owned))
    };
    let none = "no rule matched";
    let to = |text: &str| Some(text.to_owned());
    let by_name = r"to allow it: -r 'allow-get: ^https://a\.test/x(\?|$)'";
    assert_eq!(hint("a.test", "/x?key=secret", None, none), to(by_name));
    assert_eq!(hint("a.test", "/y", None, none), None, "once a host");
    let quoted = r"to allow it, before that rule: -r 'allow-get: ^https://b\.test/it'\''s(\?|$)'";
    assert_eq!(hint("b.test", "/it's", Some("deny: b"), "denied by rule"), to(quoted));
    assert_eq!(
        hint("c.test", "/", Some("allow: c"), "address refused"),
        None,
        "no rule would help"
    );
    let more = (0..100)
        .filter(|n| hint(&format!("h{n}.test"), "/", None, none).is_some())
        .count();
    assert!(more < 20, "{more}");
}

#[test]
fn hostile_and_long_text() {
    let mut record = request(Decision::Deny, &format!("https://h/{}\x1b", "é".repeat(500)));
    record.comm = Some("\x1b]0;\u{202e}".into());
    let line = notices(Show::Denials).lines(&record, Instant::now()).remove(0);
    assert!(line.ends_with(r"é… by \x1b]0;\u{202e}[12]"), "{line}");
    assert!(line.chars().count() < 260);
    check(
        Show::Denials,
        &request(Decision::Deny, "a\x1b[2J"),
        Some(r"httpjail: denied GET a\x1b[2J by curl[12]"),
    );
}

#[test]
fn the_same_again_is_counted() {
    let mut notices = notices(Show::Denials);
    let now = Instant::now();
    let mut lines = |url: &str, pid| {
        notices.lines(
            &Record {
                pid,
                ..request(Decision::Deny, url)
            },
            now,
        )
    };
    assert_eq!(lines("u", Some(1)), ["httpjail: denied GET u by curl[1]"]);
    assert!(lines("u", Some(2)).is_empty(), "another process, the same denial");
    assert!(lines("u", Some(3)).is_empty());
    assert_eq!(
        lines("v", None),
        [
            "httpjail: last message repeated 2 times",
            "httpjail: denied GET v by curl"
        ]
    );
}

// Proves: D06.
#[test]
fn a_flood_is_counted() {
    let mut notices = notices(Show::Denials);
    let start = Instant::now();
    let mut flood = |count: u32, at: u64| -> Vec<String> {
        let now = start + Duration::from_millis(at);
        (0..count)
            .flat_map(|n| notices.lines(&request(Decision::Deny, &format!("{at}/{n}")), now))
            .collect()
    };
    assert_eq!(flood(100, 0).len(), 20);
    let later = flood(100, 1000);
    assert_eq!(later.len(), 6);
    assert_eq!(later[0], "httpjail: 80 more denials not shown");
    assert_eq!(notices.rest(), ["httpjail: 95 more denials not shown"]);
    assert!(notices.rest().is_empty());
}

#[test]
fn nothing_is_held_back_from_who_asked_for_everything() {
    let mut notices = notices(Show::Everything);
    let now = Instant::now();
    let denied = request(Decision::Deny, "u");
    assert_eq!((0..100).flat_map(|_| notices.lines(&denied, now)).count(), 100);
}

#[test]
fn what_to_do_about_a_program_with_authorities_of_its_own_is_said_once() {
    let mut notices = notices(Show::Denials);
    let mut hint = |port: u16| {
        let refused = Record {
            verdict: Some(Decision::Deny),
            dst: Some(([192, 0, 2, 1], port).into()),
            reason: Some(CERTIFICATE_REFUSED.into()),
            ..Record::new(EventKind::Refused)
        };
        notices
            .lines(&refused, Instant::now())
            .into_iter()
            .skip(1)
            .collect::<String>()
    };
    assert!(hint(443).contains("`httpjail ca show`"));
    assert_eq!(hint(444), "");
}

/// What a made-up address stands for is said, and not the address.
#[test]
fn names_in_the_place_of_addresses() {
    let about = |dst: &str, event, reason: &str, verdict| Record {
        verdict,
        dst: Some(dst.parse().unwrap()),
        host: Some("git.test".into()),
        reason: Some(reason.into()),
        comm: Some("ssh".into()),
        ..Record::new(event)
    };
    let denied = Some(Decision::Deny);
    let lines = |show, record: &Record| notices(show).lines(record, Instant::now());
    for dst in ["198.18.7.9:22", "[2001:2:0:1::1:a868]:22"] {
        assert_eq!(
            lines(Show::Denials, &about(dst, EventKind::Refused, "not http: ssh", denied)),
            [
                "httpjail: refused a connection to git.test:22 (not http: ssh) by ssh",
                "hint: ssh cannot pass, only HTTP and HTTPS can; for git over HTTPS: git config --global \
                 url.https://git.test/.insteadOf git@git.test:"
            ]
        );
        assert_eq!(
            lines(
                Show::Everything,
                &about(dst, EventKind::Blocked, "udp is not http", denied)
            ),
            ["httpjail: blocked traffic to git.test:22 (udp is not http) by ssh"]
        );
    }
    let record = about("192.0.2.1:9418", EventKind::Refused, "not http: git", denied);
    assert_eq!(
        lines(Show::Denials, &record),
        [
            "httpjail: refused a connection to 192.0.2.1:9418 (git.test) (not http: git) by ssh",
            "hint: git:// cannot pass, only HTTP and HTTPS can; for git over HTTPS: git config --global \
             url.https://git.test/.insteadOf git://git.test/"
        ]
    );
}

/// A connection without a request is not a denial. A hint says once that a client waits in vain, unless HTTP is spoken there.
#[test]
fn connections_that_say_nothing() {
    let about = |event, dst: &str, verdict| Record {
        verdict,
        dst: Some(dst.parse().unwrap()),
        host: Some("db.test".into()),
        reason: Some("why".into()),
        ..Record::new(event)
    };
    let (unused, silent) = (EventKind::Unused, EventKind::Silent);
    let mut quiet = notices(Show::Denials);
    let mut says = |record: &Record| quiet.lines(record, Instant::now());
    assert!(says(&about(unused, "198.18.0.2:443", None)).is_empty());
    let told = says(&about(silent, "198.18.0.2:3306", None));
    assert_eq!(told[0], "httpjail: closed a connection to db.test:3306 (why)");
    assert!(
        told[1].starts_with("hint: only HTTP and HTTPS pass") && told.len() == 2,
        "{told:?}"
    );
    assert!(
        says(&about(silent, "[2001:2:0:1::2]:3306", None)).is_empty(),
        "the same place"
    );
    let again = says(&about(silent, "198.18.0.2:25", None));
    assert_eq!(
        again,
        ["httpjail: closed a connection to db.test:25 (why)"],
        "the hint comes once"
    );
    says(&about(EventKind::Request, "198.18.0.2:80", Some(Decision::Allow)));
    assert!(
        says(&about(silent, "198.18.0.2:80", None)).is_empty(),
        "where HTTP is spoken it is a spare one"
    );

    let mut all = notices(Show::Everything);
    let mut says = |record: &Record| all.lines(record, Instant::now());
    assert_eq!(
        says(&about(unused, "198.18.0.2:443", None)),
        ["httpjail: no request on a connection to db.test:443 (why)"]
    );
    let probe = about(EventKind::Probe, "198.18.0.2:443", Some(Decision::Deny));
    assert_eq!(says(&probe), ["httpjail: blocked a probe to db.test:443 (why)"]);
    let probe = about(EventKind::Probe, "[2001:2:0:1::2]:443", Some(Decision::Deny));
    assert!(says(&probe).is_empty(), "one look-up tries each address");
}

#[test]
fn want_of_rules_is_said_of_requests_alone() {
    let mut notices = Notices::new(StderrPolicy {
        show: Show::Denials,
        no_rules: Some("no rule".into()),
        suggest: false,
        mend: true,
    });
    let refused = Record {
        verdict: Some(Decision::Deny),
        reason: Some("malformed tls".into()),
        ..Record::new(EventKind::Refused)
    };
    assert_eq!(notices.lines(&refused, Instant::now()).len(), 1);
    let denied = Record {
        reason: Some("no rule matched".into()),
        ..request(Decision::Deny, "https://h/")
    };
    assert_eq!(notices.lines(&denied, Instant::now())[1], "hint: no rule");
    assert_eq!(
        notices
            .lines(&request(Decision::Deny, "https://h/2"), Instant::now())
            .len(),
        1
    );
}
