//! Parses a line of a JSON log back into its record, without the fields that the log adds.

use serde::Deserialize;

use super::record::{Decision, EventKind, Record};
use crate::net::Ancestor;

/// The fields that [`super::format`] writes. Fields of later versions are ignored.
#[derive(Deserialize)]
struct Line {
    event: String,
    verdict: Option<String>,
    method: Option<String>,
    url: Option<String>,
    host: Option<String>,
    dst: Option<String>,
    status: Option<u16>,
    rule: Option<String>,
    reason: Option<String>,
    pid: Option<u32>,
    exe: Option<String>,
    comm: Option<String>,
    cmdline: Option<String>,
    #[serde(default)]
    parents: Vec<Ancestor>,
    cgroup: Option<u64>,
    complete: Option<bool>,
    failure: Option<String>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    duration_ms: Option<f64>,
}

/// Parses one line of a JSON log. Returns `None` for a torn line, and for an event that this version does not know.
pub(crate) fn read_line(line: &[u8]) -> Option<Record> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let event = EventKind::ALL.into_iter().find(|kind| kind.as_str() == line.event)?;
    let verdict = match line.verdict.as_deref() {
        None => None,
        Some(word) => Some(
            [Decision::Allow, Decision::Deny]
                .into_iter()
                .find(|known| known.as_str() == word)?,
        ),
    };
    Some(Record {
        event,
        verdict,
        method: line.method,
        url: line.url,
        host: line.host,
        dst: line.dst.and_then(|dst| dst.parse().ok()),
        status: line.status,
        rule: line.rule,
        reason: line.reason,
        pid: line.pid,
        exe: line.exe,
        comm: line.comm,
        cmdline: line.cmdline,
        parents: line.parents,
        cgroup: line.cgroup,
        complete: line.complete,
        failure: line.failure,
        bytes_in: line.bytes_in,
        bytes_out: line.bytes_out,
        duration_ms: line.duration_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record() {
        for line in [
            "",
            "{",
            "null",
            "[]",
            r#"{"event":"new"}"#,
            r#"{"event":"request","verdict":"perhaps"}"#,
        ] {
            assert!(read_line(line.as_bytes()).is_none(), "{line}");
        }
        let later = r#"{"event":"request","verdict":"deny","color":"red","dst":"nowhere"}"#;
        let record = read_line(later.as_bytes()).expect("a record");
        assert_eq!((record.verdict, record.dst), (Some(Decision::Deny), None));
    }
}
