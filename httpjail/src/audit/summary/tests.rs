use super::*;
use crate::audit::read_line;

/// A small log: what was allowed, denied by a rule and by none, refused, blocked; and what is only noise.
fn small() -> Summary {
    let lines = r#"
        {"event":"start"}
        {"event":"request","verdict":"allow","method":"GET","url":"https://a.test/x?token=secret","host":"a.test","comm":"node","bytes_in":0,"bytes_out":123456,"duration_ms":1234.5}
        {"event":"request","verdict":"allow","method":"POST","url":"https://a.test/y","host":"a.test","comm":"curl","bytes_in":10,"bytes_out":5,"duration_ms":12.3}
        {"event":"request","verdict":"deny","method":"GET","url":"https://evil.test/|`x?secret","host":"evil.test","comm":"curl","reason":"no rule matched","bytes_out":99}
        {"event":"request","verdict":"deny","method":"GET","url":"https://evil.test/y","host":"evil.test","comm":"curl","reason":"no rule matched","bytes_out":99}
        {"event":"request","verdict":"deny","method":"GET","url":"https://t.test/","host":"t.test","comm":"node","rule":"deny: t","reason":"denied by rule","bytes_out":99}
        {"event":"refused","verdict":"deny","dst":"192.0.2.1:22","comm":"ssh\u001b[2J","reason":"not http"}
        {"event":"unused","dst":"198.18.0.2:443","host":"a.test","comm":"idle","reason":"the client left"}
        {"event":"silent","dst":"198.18.0.2:3306","host":"a.test","comm":"idle","reason":"nothing was said for 10 s"}
        {"event":"blocked","verdict":"deny","dst":"192.0.2.1:443","comm":"node","reason":"udp is not http"}
        {"event":"probe","verdict":"deny","dst":"192.0.2.1:443","comm":"node"}
        {"event":"dns","verdict":"deny","host":"odd.test"}
        {"event":"end","status":1}
    "#;
    let mut summary = Summary::default();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        summary.add(&read_line(line.as_bytes()).expect(line));
    }
    summary
}

#[test]
fn a_table() {
    insta::assert_snapshot!(small().text(SummaryForm::Table), @r#"
    2 requests allowed, 3 denied; 1 connection refused; 1 DNS question refused; 1 other attempt blocked; 10 B sent, 123.5 KB received

      denied  host           by               such as
           2  evil.test      no rule matched  GET https://evil.test/|`x?…
           1  192.0.2.1:22   not http
           1  192.0.2.1:443  udp is not http
           1  t.test         deny: t          GET https://t.test/

      allowed  denied  sent  received  host
            0       2   0 B       0 B  evil.test
            0       1   0 B       0 B  t.test
            2       0  10 B  123.5 KB  a.test

      allowed  denied  program
            1       2  curl
            1       2  node
            0       1  ssh\x1b[2J

       took  slowest
      1.2 s  GET https://a.test/x?…
      12 ms  POST https://a.test/y
    "#);
}

#[test]
fn a_page() {
    insta::assert_snapshot!(small().text(SummaryForm::Github), @r#"
    ### httpjail

    2 requests allowed, 3 denied; 1 connection refused; 1 DNS question refused; 1 other attempt blocked; 10 B sent, 123.5 KB received

    | denied | host | by | such as |
    | --: | :-- | :-- | :-- |
    | 2 | `evil.test` | `no rule matched` | `GET https://evil.test/\|'x?…` |
    | 1 | `192.0.2.1:22` | `not http` |  |
    | 1 | `192.0.2.1:443` | `udp is not http` |  |
    | 1 | `t.test` | `deny: t` | `GET https://t.test/` |

    | allowed | denied | sent | received | host |
    | --: | --: | --: | --: | :-- |
    | 0 | 2 | 0 B | 0 B | `evil.test` |
    | 0 | 1 | 0 B | 0 B | `t.test` |
    | 2 | 0 | 10 B | 123.5 KB | `a.test` |

    | allowed | denied | program |
    | --: | --: | :-- |
    | 1 | 2 | `curl` |
    | 1 | 2 | `node` |
    | 0 | 1 | `ssh\x1b[2J` |

    | took | slowest |
    | --: | :-- |
    | 1.2 s | `GET https://a.test/x?…` |
    | 12 ms | `POST https://a.test/y` |
    "#);
}

#[test]
fn an_object() {
    insta::assert_snapshot!(small().text(SummaryForm::Json), @r#"{"blocked":1,"bytes_in":10,"bytes_out":123461,"connections_refused":1,"denials":[{"count":2,"example":"GET https://evil.test/|`x?…","host":"evil.test","reason":"no rule matched","rule":null},{"count":1,"example":null,"host":"192.0.2.1:22","reason":"not http","rule":null},{"count":1,"example":null,"host":"192.0.2.1:443","reason":"udp is not http","rule":null},{"count":1,"example":"GET https://t.test/","host":"t.test","reason":null,"rule":"deny: t"}],"dns_refused":1,"failures":[],"hosts":[{"bytes_in":0,"bytes_out":0,"host":"evil.test","requests":{"allowed":0,"denied":2,"failed":0}},{"bytes_in":0,"bytes_out":0,"host":"t.test","requests":{"allowed":0,"denied":1,"failed":0}},{"bytes_in":10,"bytes_out":123461,"host":"a.test","requests":{"allowed":2,"denied":0,"failed":0}}],"not_listed":{"denials":0,"failures":0,"hosts":0,"programs":0},"programs":[{"program":"curl","requests":{"allowed":1,"denied":2,"failed":0}},{"program":"node","requests":{"allowed":1,"denied":2,"failed":0}},{"program":"ssh\\x1b[2J","requests":{"allowed":0,"denied":1,"failed":0}}],"requests":{"allowed":2,"denied":3,"failed":0},"slowest":[{"duration_ms":1235.0,"request":"GET https://a.test/x?…"},{"duration_ms":12.0,"request":"POST https://a.test/y"}]}"#);
}

/// What was allowed and failed is neither: not a denial, and nothing that worked.
#[test]
fn failures() {
    let lines = [
        r#"{"event":"request","verdict":"allow","method":"GET","url":"https://a.test/","host":"a.test","comm":"npm"}"#,
        r#"{"event":"request","verdict":"allow","method":"GET","url":"https://a.test/left","host":"a.test","comm":"npm","reason":"cut short","complete":false}"#,
        r#"{"event":"request","verdict":"allow","method":"GET","url":"https://b.test/?key","host":"b.test","comm":"npm","status":502,"reason":"connect failed","complete":false,"failure":"connecting to b.test failed."}"#,
        r#"{"event":"request","verdict":"deny","method":"GET","url":"https://c.test/","host":"c.test","comm":"npm","reason":"no rule matched","failure":"in a dry run"}"#,
    ];
    let mut summary = Summary::default();
    for line in lines {
        summary.add(&read_line(line.as_bytes()).expect(line));
    }
    insta::assert_snapshot!(summary.text(SummaryForm::Table), @r"
    2 requests allowed, 1 failed, 1 denied; 0 B sent, 0 B received

      denied  host    by               such as
           1  c.test  no rule matched  GET https://c.test/

      failed  host    why                           such as
           1  b.test  connecting to b.test failed.  GET https://b.test/?…

      allowed  failed  denied  sent  received  host
            0       0       1   0 B       0 B  c.test
            0       1       0   0 B       0 B  b.test
            2       0       0   0 B       0 B  a.test

      allowed  failed  denied  program
            2       1       1  npm
    ");
    let object: serde_json::Value = serde_json::from_str(&summary.text(SummaryForm::Json)).expect("JSON");
    assert_eq!(
        object["requests"],
        serde_json::json!({ "allowed": 2, "failed": 1, "denied": 1 })
    );
    assert_eq!(object["failures"][0]["failure"], "connecting to b.test failed.");
}

#[test]
fn nothing() {
    assert_eq!(
        Summary::default().text(SummaryForm::Table),
        "0 requests allowed, 0 denied; 0 B sent, 0 B received\n"
    );
}

#[test]
fn memory_is_bounded() {
    let mut summary = Summary::default();
    for number in 0..3 * NAMES_MAX {
        let mut record = Record::new(EventKind::Request);
        record.verdict = Some(if number % 2 == 0 {
            Decision::Deny
        } else {
            Decision::Allow
        });
        record.method = Some("GET".into());
        record.host = Some(format!("h{number}.test"));
        record.url = Some(format!("https://h{number}.test/{}", "x".repeat(10_000)));
        record.comm = Some(format!("p{number}"));
        record.reason = Some("no rule matched".into());
        record.duration_ms = Some(1.0);
        summary.add(&record);
    }
    assert!(summary.hosts.kept.len() == NAMES_MAX && summary.programs.kept.len() == NAMES_MAX);
    assert_eq!(summary.hosts.others as usize, 2 * NAMES_MAX);
    assert_eq!(
        (summary.requests.allowed + summary.requests.denied) as usize,
        3 * NAMES_MAX
    );
    assert!(summary.slowest.len() == SLOWEST_MAX && summary.slowest.iter().all(|slow| slow.what.len() < 1000));
    assert!(summary.text(SummaryForm::Table).lines().count() < 70);
}

#[test]
fn names_and_ports_of_what_is_no_request() {
    let mut summary = Summary::default();
    for line in [
        r#"{"event":"refused","verdict":"deny","dst":"[2001:2:0:1::1:a868]:22","host":"git.test","reason":"not http: ssh"}"#,
        r#"{"event":"blocked","verdict":"deny","dst":"198.18.7.9:443","host":"git.test","reason":"udp is not http"}"#,
    ] {
        summary.add(&read_line(line.as_bytes()).expect(line));
    }
    let text = summary.text(SummaryForm::Table);
    assert!(text.contains("1  git.test:22   not http: ssh\n"), "{text}");
    assert!(text.contains("1  git.test:443  udp is not http\n"), "{text}");
}
