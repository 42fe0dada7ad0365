//! What a line is, byte for byte, and what it must not become.

use super::*;

fn full() -> Record {
    Record {
        verdict: Some(Decision::Deny),
        method: Some("GET".into()),
        url: Some("https://example.com/a?b=c".into()),
        host: Some("example.com".into()),
        dst: Some("198.18.3.4:443".parse().unwrap()),
        status: Some(403),
        rule: Some(r"deny: \.com/".into()),
        reason: Some("rule".into()),
        pid: Some(42),
        exe: Some("/usr/bin/curl".into()),
        comm: Some("curl".into()),
        cmdline: Some("curl -sS".into()),
        cgroup: Some(7),
        bytes_in: Some(0),
        bytes_out: Some(512),
        duration_ms: Some(1.23456),
        ..Record::new(EventKind::Request)
    }
}

fn line(format: Format, record: &Record) -> String {
    marked(format, record, &Marks::default())
}

fn marked(format: Format, record: &Record, marks: &Marks) -> String {
    let stamp = Stamp {
        ts: Timestamp::from_microsecond(1_767_323_045_006_700).unwrap(),
        session: "s1",
        marks,
        seq: 9,
    };
    let mut out = Vec::new();
    format.line(&mut out, record, stamp).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_the_owner_calls_it_is_in_json_alone() {
    let marks = Marks {
        name: Some("web".into()),
        labels: [("team".into(), "a\u{202e}".into())].into(),
    };
    let record = Record::new(EventKind::Start);
    let json = marked(Format::Json, &record, &marks);
    let end = r#""seq":9,"name":"web","labels":{"team":"a\u202e"}}"#;
    assert!(json.trim_end().ends_with(end), "{json}");
    assert!(!line(Format::Json, &record).contains("name"));
    assert_eq!(marked(Format::Text, &record, &marks), line(Format::Text, &record));
}

#[test]
fn a_full_record() {
    assert_eq!(
        line(Format::Json, &full()),
        concat!(
            r#"{"ts":"2026-01-02T03:04:05.006Z","event":"request","verdict":"deny","method":"GET","#,
            r#""url":"https://example.com/a?b=c","host":"example.com","dst":"198.18.3.4:443","status":403,"#,
            r#""rule":"deny: \\.com/","reason":"rule","pid":42,"exe":"/usr/bin/curl","comm":"curl","cmdline":"curl -sS","cgroup":7,"#,
            r#""session":"s1","seq":9,"bytes_in":0,"bytes_out":512,"duration_ms":1.235}"#,
            "\n"
        )
    );
    assert_eq!(
        line(Format::Text, &full()),
        concat!(
            "2026-01-02T03:04:05.006Z request deny GET https://example.com/a?b=c dst=198.18.3.4:443 status=403 ",
            r#"rule="deny: \.com/" reason=rule pid=42 comm=curl exe=/usr/bin/curl cmdline="curl -sS" bytes_in=0 "#,
            "bytes_out=512 duration_ms=1.235\n"
        )
    );
}

#[test]
fn what_was_written_is_read_back() {
    for record in [full(), Record::new(EventKind::Start)] {
        let written = line(Format::Json, &record);
        let read = crate::audit::read_line(written.as_bytes()).unwrap();
        assert_eq!(line(Format::Json, &read), written);
    }
}

#[test]
fn a_bare_record() {
    let record = Record::new(EventKind::Start);
    let json = "{\"ts\":\"2026-01-02T03:04:05.006Z\",\"event\":\"start\",\"session\":\"s1\",\"seq\":9}\n";
    assert_eq!(line(Format::Json, &record), json);
    assert_eq!(line(Format::Text, &record), "2026-01-02T03:04:05.006Z start\n");
}

// Proves: K06.
#[test]
fn hostile_text_stays_inside_its_field_and_its_line() {
    let hostile = "\x1b]0;x\x07\u{9b}1m\n\r\"} status=200 \u{202e}\u{2028}\u{200f}\x7f\u{e0041}";
    for field in 0..7 {
        let mut record = full();
        let place = match field {
            0 => &mut record.method,
            1 => &mut record.url,
            2 => &mut record.host,
            3 => &mut record.reason,
            4 => &mut record.exe,
            5 => &mut record.cmdline,
            _ => &mut record.comm,
        };
        *place = Some(hostile.into());
        for format in [Format::Text, Format::Json] {
            let line = line(format, &record);
            let body = line.strip_suffix('\n').unwrap();
            assert!(!body.contains(is_unsafe), "{body:?}");
        }
        let parsed: serde_json::Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
        let key = ["method", "url", "host", "reason", "exe", "cmdline", "comm"][field];
        assert_eq!(parsed[key], hostile, "JSON gives back what was recorded");
    }
}

#[test]
fn a_value_cannot_end_its_own_quotes() {
    let record = Record {
        reason: Some(r#"a\" status=200 b"#.into()),
        ..Record::new(EventKind::Refused)
    };
    assert_eq!(
        line(Format::Text, &record),
        "2026-01-02T03:04:05.006Z refused reason=\"a\\\\x22 status=200 b\"\n"
    );
}

#[test]
fn json_escapes() {
    let record = Record {
        comm: Some("\u{9b}\u{202e}\x7f\u{e0041}é".into()),
        ..Record::new(EventKind::Blocked)
    };
    assert!(line(Format::Json, &record).contains(r#""comm":"\u009b\u202e\u007f\udb40\udc41é""#));
}
