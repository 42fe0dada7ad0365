//! Formats one record as one line: text for people and grep, JSON for programs.
//!
//! Both are one line, whatever the record contains. JSON escapes every character that could deceive a terminal or a reader as
//! `\uXXXX` (RFC 8259 allows that for any character), so that `cat` of a log is as safe as `jq` of it.

use super::escape::{is_unsafe, push_printable};
use super::record::{Decision, EventKind, Record};
use crate::net::Ancestor;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;

/// The format of the request log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `2026-01-02T03:04:05.678Z request deny GET https://example.com/ status=403 reason="no rule matched"`
    Text,
    /// One JSON object a line.
    Json,
}

/// What the log adds to each record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp<'a> {
    /// The time of the record.
    pub(super) ts: Timestamp,
    /// Names the run.
    pub(super) session: &'a str,
    /// What its owner calls it.
    pub(super) marks: &'a Marks,
    /// Counts the run's records from 1. A gap is a record that could not be written.
    pub(super) seq: u64,
}

/// What a run's owner calls it, in each of its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Its name, if it was given one.
    pub(crate) name: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Format {
    /// Appends `record` as one line, with its newline.
    pub(super) fn line(self, out: &mut Vec<u8>, record: &Record, stamp: Stamp<'_>) -> io::Result<()> {
        match self {
            Format::Text => out.extend_from_slice(text(record, stamp).as_bytes()),
            Format::Json => json(out, record, stamp)?,
        }
        out.push(b'\n');
        Ok(())
    }
}

impl EventKind {
    /// Every kind.
    pub(crate) const ALL: [EventKind; 10] = [
        EventKind::Start,
        EventKind::Request,
        EventKind::Refused,
        EventKind::Unused,
        EventKind::Silent,
        EventKind::Blocked,
        EventKind::Probe,
        EventKind::Dns,
        EventKind::Reload,
        EventKind::End,
    ];

    /// The event's name in a log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            EventKind::Start => "start",
            EventKind::Request => "request",
            EventKind::Refused => "refused",
            EventKind::Unused => "unused",
            EventKind::Silent => "silent",
            EventKind::Blocked => "blocked",
            EventKind::Probe => "probe",
            EventKind::Dns => "dns",
            EventKind::Reload => "reload",
            EventKind::End => "end",
        }
    }
}

impl Decision {
    /// The verdict's name in a log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        }
    }
}

fn text(record: &Record, stamp: Stamp<'_>) -> String {
    let mut line = format!("{:.3} {}", stamp.ts, record.event.as_str());
    if let Some(verdict) = record.verdict {
        line.push(' ');
        line.push_str(verdict.as_str());
    }
    for bare in [&record.method, &record.url].into_iter().flatten() {
        line.push(' ');
        push_value(&mut line, bare);
    }
    pair(
        &mut line,
        "host",
        record.host.as_deref().filter(|_| record.url.is_none()),
    );
    pair(&mut line, "dst", record.dst);
    pair(&mut line, "status", record.status);
    pair(&mut line, "rule", record.rule.as_deref());
    pair(&mut line, "reason", record.reason.as_deref());
    pair(&mut line, "complete", record.complete);
    pair(&mut line, "failure", record.failure.as_deref());
    pair(&mut line, "pid", record.pid);
    pair(&mut line, "comm", record.comm.as_deref());
    pair(&mut line, "exe", record.exe.as_deref());
    pair(&mut line, "cmdline", record.cmdline.as_deref());
    let parents: Vec<String> = record
        .parents
        .iter()
        .map(|parent| format!("{}[{}]", parent.name, parent.pid))
        .collect();
    pair(
        &mut line,
        "parents",
        Some(parents.join(" < ")).filter(|parents| !parents.is_empty()),
    );
    pair(&mut line, "bytes_in", record.bytes_in);
    pair(&mut line, "bytes_out", record.bytes_out);
    pair(&mut line, "duration_ms", record.duration_ms.map(thousandths));
    line
}

fn pair(line: &mut String, key: &str, value: Option<impl fmt::Display>) {
    if let Some(value) = value {
        // Writing to a String cannot fail.
        let _ = write!(line, " {key}=");
        push_value(line, &value.to_string());
    }
}

/// Appends `value`, in quotes if it could be read as more than one word. A quote inside is written `\x22`, never `\"`: backslashes
/// are not escaped, so `\"` could be forged to end the value early.
fn push_value(line: &mut String, value: &str) {
    let quoted = value.is_empty() || value.contains(|c: char| c == '"' || c.is_whitespace());
    if quoted {
        line.push('"');
    }
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\x22"),
            c => push_printable(line, c),
        }
    }
    if quoted {
        line.push('"');
    }
}

/// The JSON log's fields in their order (docs/design.md, "The log").
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmdline: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Ancestor]>::is_empty")]
    parents: &'a [Ancestor],
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<u64>,
    session: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
}

fn json(out: &mut Vec<u8>, record: &Record, stamp: Stamp<'_>) -> io::Result<()> {
    let line = Line {
        ts: format!("{:.3}", stamp.ts),
        event: record.event.as_str(),
        verdict: record.verdict.map(Decision::as_str),
        method: record.method.as_deref(),
        url: record.url.as_deref(),
        host: record.host.as_deref(),
        dst: record.dst.map(|dst| dst.to_string()),
        status: record.status,
        rule: record.rule.as_deref(),
        reason: record.reason.as_deref(),
        pid: record.pid,
        exe: record.exe.as_deref(),
        comm: record.comm.as_deref(),
        cmdline: record.cmdline.as_deref(),
        parents: &record.parents,
        cgroup: record.cgroup,
        session: stamp.session,
        seq: stamp.seq,
        name: stamp.marks.name.as_deref(),
        labels: &stamp.marks.labels,
        complete: record.complete,
        failure: record.failure.as_deref(),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        duration_ms: record.duration_ms.map(thousandths),
    };
    write_json(out, &line)
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    let mut writer = serde_json::Serializer::with_formatter(out, Escaping);
    value.serialize(&mut writer).map_err(io::Error::from)
}

/// Returns `value` as one line that is safe to show.
pub(super) fn safe_json(value: &serde_json::Value) -> String {
    let mut out = Vec::new();
    // Neither can fail: the keys are text, the output is memory, and JSON is UTF-8.
    let _ = write_json(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

/// Rounds milliseconds to three places: more would be noise.
fn thousandths(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// serde_json's compact format, with every unsafe character of a string as `\uXXXX`. serde_json itself does not escape DEL, the
/// C1 controls and characters above ASCII.
struct Escaping;

impl serde_json::ser::Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, tail) = rest.split_at(at);
            writer.write_all(safe.as_bytes())?;
            let mut after = tail.chars();
            if let Some(c) = after.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests;
