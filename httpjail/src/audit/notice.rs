//! Makes the lines for the terminal: one short line for each denial.
//!
//! A jailed program can be denied thousands of times a second, and it chooses the URLs. So query strings are hidden, because they
//! contain secrets; long URLs are cut; a repeated denial is only counted, and so are more than a few a second. The request
//! log has them all.

mod advice;
mod policy;

use self::advice::Advice;
pub(crate) use self::policy::{Show, StderrPolicy};
use super::escape::{printable, redacted, short};
use super::record::{Decision, EventKind, Record};
use super::{Admission, Bucket};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Instant;

/// How many lines are shown at once, and how many a second after that.
const BURST: u32 = 20;
const PER_SECOND: u32 = 5;

/// How many destinations are remembered: where HTTP is spoken, or about which something was printed.
const DESTINATIONS_MAX: usize = 500;

/// Turns records into lines for stderr, or into nothing.
#[derive(Debug)]
pub(super) struct Notices {
    show: Show,
    bucket: Bucket,
    advice: Advice,
    /// Destinations where HTTP is spoken (true), or of silent or probed connections that were reported (false).
    destinations: BTreeSet<(bool, String)>,
    /// Address and host of the last request, which most requests share with the one before.
    last_heard: (Option<SocketAddr>, Option<String>),
    /// The last line, without its process, and how often it was repeated since.
    last: String,
    repeats: u64,
}

impl Notices {
    pub(super) fn new(policy: StderrPolicy) -> Self {
        Notices {
            show: policy.show,
            bucket: Bucket::new(BURST, PER_SECOND),
            advice: Advice::new(&policy),
            destinations: BTreeSet::new(),
            last_heard: (None, None),
            last: String::new(),
            repeats: 0,
        }
    }

    /// Returns the lines to print for `record`, which was recorded `now`.
    pub(super) fn lines(&mut self, record: &Record, now: Instant) -> Vec<String> {
        let Some(what) = self.wants(record).then(|| what_happened(record)).flatten() else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        if self.show == Show::Denials {
            if what == self.last {
                self.repeats += 1;
                return lines;
            }
            let Admission::Pass { held_back } = self.bucket.admit(now) else {
                return lines;
            };
            lines.extend(self.repeated());
            lines.extend(not_shown(held_back));
            self.last.clone_from(&what);
        }
        lines.push(format!("httpjail: {what}{}", by(record)));
        lines.extend(self.advice.after(record));
        lines
    }

    fn wants(&mut self, record: &Record) -> bool {
        let everything = match self.show {
            Show::Nothing => return false,
            Show::Denials => false,
            Show::Everything => true,
        };
        match record.event {
            // A name look-up probes each address, once for each kind of socket.
            EventKind::Probe => everything && self.is_new(false, record),
            EventKind::Dns | EventKind::Unused => everything,
            EventKind::Request => {
                if (record.dst, &record.host) != (self.last_heard.0, &self.last_heard.1) {
                    self.is_new(true, record);
                    self.last_heard = (record.dst, record.host.clone());
                }
                everything || record.verdict == Some(Decision::Deny) || is_unanswered(record)
            }
            // Where HTTP is spoken too, it is a spare connection.
            EventKind::Silent => everything || self.is_new(true, record),
            _ => everything || record.verdict == Some(Decision::Deny),
        }
    }

    /// Returns true if the destination of `record` was not noted yet, and notes it.
    fn is_new(&mut self, heard: bool, record: &Record) -> bool {
        let Some(destination) = record
            .destination()
            .filter(|_| self.destinations.len() < DESTINATIONS_MAX)
        else {
            return false;
        };
        self.destinations.insert((heard, destination))
    }

    /// Returns the lines that are left to print at the end.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let held_back = self.bucket.take_held_back();
        self.repeated().into_iter().chain(not_shown(held_back)).collect()
    }

    fn repeated(&mut self) -> Option<String> {
        match std::mem::take(&mut self.repeats) {
            0 => None,
            1 => Some("httpjail: last message repeated 1 time".to_owned()),
            times => Some(format!("httpjail: last message repeated {times} times")),
        }
    }
}

fn not_shown(held_back: u64) -> Option<String> {
    match held_back {
        0 => None,
        1 => Some("httpjail: 1 more denial not shown".to_owned()),
        count => Some(format!("httpjail: {count} more denials not shown")),
    }
}

/// Returns true if an allowed request was answered by httpjail. Many programs show only the status of such an answer.
fn is_unanswered(record: &Record) -> bool {
    record.has_failed() && matches!(record.status, Some(502 | 504))
}

/// Returns `denied GET https://host/path?… (rule deny: .*)`, or `None` if the record needs no line.
fn what_happened(record: &Record) -> Option<String> {
    let request = || {
        let words = [record.method.as_deref().map(short), record.url.as_deref().map(redacted)];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let peer = || match (record.real_address(), &record.host, record.destination()) {
        (Some(address), Some(host), _) => format!(" to {address} ({})", short(host)),
        (_, _, Some(destination)) => format!(" to {}", short(&destination)),
        (_, _, None) => String::new(),
    };
    let status = record.status.map(|status| format!(" {status}")).unwrap_or_default();
    let Some(verdict) = record.verdict else {
        let what = match record.event {
            EventKind::Unused => "no request on",
            EventKind::Silent => "closed",
            _ => return None,
        };
        let why = record.reason.as_deref().map(|reason| format!(" ({})", short(reason)));
        return Some(format!("{what} a connection{}{}", peer(), why.unwrap_or_default()));
    };
    let what = match (record.event, verdict) {
        (EventKind::Request, Decision::Deny) => format!("denied {}", request()),
        (EventKind::Request, Decision::Allow) if record.has_failed() => format!("failed {}{status}", request()),
        (EventKind::Request, Decision::Allow) => format!("allowed {}{status}", request()),
        (EventKind::Refused, Decision::Deny) if record.url.is_some() => format!("refused {}", request()),
        (EventKind::Refused, Decision::Deny) => format!("refused a connection{}", peer()),
        (EventKind::Blocked, Decision::Deny) => format!("blocked traffic{}", peer()),
        (EventKind::Probe, Decision::Deny) => format!("blocked a probe{}", peer()),
        (EventKind::Dns, Decision::Deny) => match &record.host {
            Some(name) => format!("refused the DNS question {}", short(name)),
            None => "refused a DNS question".to_owned(),
        },
        (_, Decision::Deny | Decision::Allow) => return None,
    };
    let why = match record.denied_by() {
        _ if record.has_failed() => {
            let failure = record.failure.as_deref().unwrap_or_default();
            format!(" ({})", short(failure.trim_end_matches('.')))
        }
        (Some(rule), _) => format!(" (rule {})", short(rule)),
        (None, Some(reason)) => format!(" ({})", short(reason)),
        (None, None) => String::new(),
    };
    Some(what + &why)
}

fn by(record: &Record) -> String {
    match (&record.comm, record.pid) {
        (Some(comm), Some(pid)) => format!(" by {}[{pid}]", printable(comm)),
        (Some(comm), None) => format!(" by {}", printable(comm)),
        (None, Some(pid)) => format!(" by process {pid}"),
        (None, None) => String::new(),
    }
}

/// Returns the line about lines that the terminal has lost.
pub(super) fn lines_lost(count: impl Display) -> String {
    format!("httpjail: {count} more lines not shown")
}

#[cfg(test)]
mod tests;
