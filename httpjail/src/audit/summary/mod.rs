//! Sums records up, for the end of a run and for a log that is read later.
//!
//! It does no I/O and is bounded: names that the jail chooses (hosts, URLs, programs) are counted one by one up to a limit, and as
//! "others" beyond it. Query strings are never kept, because summaries are pasted into tickets and build pages.

mod render;

use std::collections::BTreeMap;

use super::escape::{redacted, short};
use super::record::{Decision, EventKind, Record};

/// How many names of one kind are counted one by one.
const NAMES_MAX: usize = 200;
/// How many of the slowest requests are kept.
const SLOWEST_MAX: usize = 5;

/// How a summary is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryForm {
    /// Aligned columns, for a terminal.
    Table,
    /// One JSON object on one line.
    Json,
    /// Markdown, as GitHub shows on the page of a workflow's run.
    Github,
}

/// The summary of a run, or of a log.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    requests: Counts,
    /// Connections and requests that could not be parsed.
    refused: u64,
    /// Packets and sockets that the kernel stopped.
    blocked: u64,
    /// DNS questions that were refused.
    dns: u64,
    bytes_in: u64,
    bytes_out: u64,
    hosts: Named<String, Host>,
    denials: Named<Cause, Group>,
    /// Requests that were allowed and failed, by what went wrong.
    failures: Named<Cause, Group>,
    programs: Named<String, Counts>,
    slowest: Vec<Slow>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Allowed requests that ended properly, or whose client gave up.
    allowed: u64,
    /// Allowed requests that failed.
    failed: u64,
    denied: u64,
}

#[derive(Debug, Default)]
struct Host {
    requests: Counts,
    bytes_in: u64,
    bytes_out: u64,
}

/// The host and the reason of a denial or a failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    host: String,
    rule: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    /// The first of them: `GET https://host/path?…`.
    example: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Slow {
    milliseconds: f64,
    what: String,
}

/// A bounded map by name.
#[derive(Debug)]
struct Named<K, V> {
    kept: BTreeMap<K, V>,
    /// How often a name did not fit.
    others: u64,
}

impl Summary {
    /// Counts one record.
    pub(crate) fn add(&mut self, record: &Record) {
        let Some(verdict) = record.verdict else { return };
        let denied = verdict == Decision::Deny;
        match record.event {
            EventKind::Request => self.request(record),
            EventKind::Refused => self.refused += u64::from(denied),
            EventKind::Blocked => self.blocked += u64::from(denied),
            EventKind::Dns => self.dns += u64::from(denied),
            EventKind::Start
            | EventKind::Reload
            | EventKind::End
            | EventKind::Probe
            | EventKind::Unused
            | EventKind::Silent => {}
        }
        if denied
            && matches!(
                record.event,
                EventKind::Request | EventKind::Refused | EventKind::Blocked
            )
        {
            let (rule, reason) = record.denied_by();
            self.denials.count(record, rule, reason);
        } else if record.has_failed() {
            self.failures.count(record, None, record.failure.as_deref());
        }
        if matches!(
            record.event,
            EventKind::Request | EventKind::Refused | EventKind::Blocked
        ) && let Some(program) = &record.comm
            && let Some(counts) = self.programs.of(short(program))
        {
            counts.add(record);
        }
    }

    fn request(&mut self, record: &Record) {
        let (up, down) = (record.bytes_in.unwrap_or(0), record.bytes_out.unwrap_or(0));
        // The size of httpjail's own refusal is not counted.
        let allowed = record.verdict == Some(Decision::Allow);
        let down = if allowed { down } else { 0 };
        self.requests.add(record);
        self.bytes_in = self.bytes_in.saturating_add(up);
        self.bytes_out = self.bytes_out.saturating_add(down);
        if let Some(host) = self.hosts.of(host_of(record)) {
            host.requests.add(record);
            host.bytes_in = host.bytes_in.saturating_add(up);
            host.bytes_out = host.bytes_out.saturating_add(down);
        }
        if let (true, Some(milliseconds), Some(what)) = (allowed, record.duration_ms, what(record)) {
            let index = self.slowest.partition_point(|slow| slow.milliseconds >= milliseconds);
            if index < SLOWEST_MAX {
                self.slowest.insert(index, Slow { milliseconds, what });
                self.slowest.truncate(SLOWEST_MAX);
            }
        }
    }
}

/// Returns the host of a request, and host and port of anything else.
fn host_of(record: &Record) -> String {
    let host = match record.event {
        EventKind::Request => record.host.clone(),
        _ => None,
    };
    let named = host.or_else(|| record.destination());
    named.map_or("unknown".to_owned(), |name| short(&name))
}

fn what(record: &Record) -> Option<String> {
    let url = redacted(record.url.as_deref()?);
    Some(match &record.method {
        Some(method) => format!("{} {url}", short(method)),
        None => url,
    })
}

impl Counts {
    fn add(&mut self, record: &Record) {
        match record.verdict {
            Some(Decision::Allow) if record.has_failed() => self.failed += 1,
            Some(Decision::Allow) => self.allowed += 1,
            Some(Decision::Deny) => self.denied += 1,
            None => {}
        }
    }
}

impl Named<Cause, Group> {
    fn count(&mut self, record: &Record, rule: Option<&str>, reason: Option<&str>) {
        let cause = Cause {
            host: host_of(record),
            rule: rule.map(short),
            reason: reason.map(short),
        };
        if let Some(group) = self.of(cause) {
            group.count += 1;
            if group.example.is_none() {
                group.example = what(record);
            }
        }
    }
}

impl<K, V> Default for Named<K, V> {
    fn default() -> Self {
        Named {
            kept: BTreeMap::new(),
            others: 0,
        }
    }
}

impl<K: Ord, V: Default> Named<K, V> {
    /// Returns the entry of that name, unless the map is full.
    fn of(&mut self, name: K) -> Option<&mut V> {
        if self.kept.len() >= NAMES_MAX && !self.kept.contains_key(&name) {
            self.others += 1;
            return None;
        }
        Some(self.kept.entry(name).or_default())
    }
}

#[cfg(test)]
mod tests;
