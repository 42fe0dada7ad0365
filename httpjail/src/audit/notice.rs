//! What the person at the terminal is told: one short line a denial.
//!
//! A jailed program can be denied thousands of times a second and chooses the URLs. So query strings (where secrets
//! travel) are hidden, long URLs are cut, the same denial again is only counted, and more than a handful a second are
//! only counted too. The request log has them all.

use super::escape::printable;
use super::record::{Decision, EventKind, Record};
use super::{Admission, Bucket};
use crate::policy::rule_for;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Instant;

/// Lines at once, and lines a second in the long run.
const BURST: u32 = 20;
const PER_SECOND: u32 = 5;

/// For so many hosts the rule is shown that would allow a request.
const SUGGESTIONS_MAX: usize = 20;

/// A URL or a rule is shown up to this many characters.
const LONGEST: usize = 200;

/// As the proxy says it.
pub const CERTIFICATE_REFUSED: &str = "client refused our certificate";
const TRUST: &str = "the program has a list of authorities of its own (an option like --cacert, a setting): add to it what \
                     `httpjail ca show` prints";

/// Which records stderr gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// None (`-q`).
    Nothing,
    /// What was denied (the default). DNS questions are left out: programs ask for odd types by habit.
    Denials,
    /// Allowed requests and DNS too, none held back (`-v`).
    Everything,
}

/// What the log says on stderr.
#[derive(Debug, Clone)]
pub struct StderrPolicy {
    /// Which records.
    pub show: Show,
    /// Said once, as `hint: ...`, after the first denial.
    pub hint: Option<String>,
    /// Whether the rule that would allow it is shown with the first denial for each host.
    pub suggest: bool,
}

/// Turns records into lines for stderr, or into nothing.
#[derive(Debug)]
pub(super) struct Notices {
    policy: StderrPolicy,
    bucket: Bucket,
    /// The hosts for which a rule was shown.
    suggested: BTreeSet<String>,
    /// Whether it was said what to do about a program that does not trust the proxy.
    told_of_trust: bool,
    /// What was last said, without the process that it was said of, and how often it would have been said again.
    last: String,
    repeats: u64,
}

impl Notices {
    pub(super) fn new(policy: StderrPolicy) -> Self {
        Notices {
            policy,
            bucket: Bucket::new(BURST, PER_SECOND),
            suggested: BTreeSet::new(),
            told_of_trust: false,
            last: String::new(),
            repeats: 0,
        }
    }

    /// The lines to print for `record`, recorded `now`.
    pub(super) fn lines(&mut self, record: &Record, now: Instant) -> Vec<String> {
        let denied = record.verdict == Some(Decision::Deny);
        let wanted = match self.policy.show {
            Show::Nothing => false,
            Show::Denials => denied && !matches!(record.event, EventKind::Dns | EventKind::Probe),
            Show::Everything => true,
        };
        let Some(what) = wanted.then(|| what_happened(record)).flatten() else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        if self.policy.show == Show::Denials {
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
        if denied
            && let Some(hint) = self
                .trust(record)
                .or_else(|| self.policy.hint.take())
                .or_else(|| self.suggestion(record))
        {
            lines.push(format!("hint: {}", printable(&hint)));
        }
        lines
    }

    /// What to do about a program that refused our certificate: once.
    fn trust(&mut self, record: &Record) -> Option<String> {
        let refused = record.reason.as_deref() == Some(CERTIFICATE_REFUSED);
        (refused && !std::mem::replace(&mut self.told_of_trust, true)).then(|| TRUST.to_owned())
    }

    /// The option that would have allowed it: the first time for each of a few hosts.
    fn suggestion(&mut self, record: &Record) -> Option<String> {
        let known = self.suggested.len() >= SUGGESTIONS_MAX || self.suggested.contains(record.host.as_ref()?);
        if !self.policy.suggest || known || !record.is_denied_by_policy() {
            return None;
        }
        let rule = rule_for(record.method.as_deref()?, record.url.as_deref()?)?;
        self.suggested.insert(record.host.clone()?);
        let place = if record.rule.is_some() {
            ", before that rule"
        } else {
            ""
        };
        Some(format!("to allow it{place}: -r {}", quoted(&rule)))
    }

    /// What is still to be said when nothing more will come.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let held_back = self.bucket.take_held_back();
        self.repeated().into_iter().chain(not_shown(held_back)).collect()
    }

    fn repeated(&mut self) -> Option<String> {
        match std::mem::take(&mut self.repeats) {
            0 => None,
            1 => Some("httpjail: the same 1 more time".to_owned()),
            times => Some(format!("httpjail: the same {times} more times")),
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

/// `denied GET https://host/path?… (rule deny: .*)`, or `None` for what nobody needs to be told.
fn what_happened(record: &Record) -> Option<String> {
    let request = || {
        let words = [record.method.as_deref().map(short), record.url.as_deref().map(redacted)];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let peer = || match (record.dst, &record.host) {
        (Some(dst), Some(host)) => format!(" to {dst} ({})", short(host)),
        (Some(dst), None) => format!(" to {dst}"),
        (None, Some(host)) => format!(" to {}", short(host)),
        (None, None) => String::new(),
    };
    let status = record.status.map(|status| format!(" {status}")).unwrap_or_default();
    let verdict = record.verdict?;
    let what = match (record.event, verdict) {
        (EventKind::Request, Decision::Deny) => format!("denied {}", request()),
        (EventKind::Request, Decision::Allow) => format!("allowed {}{status}", request()),
        (EventKind::Refused, Decision::Deny) if record.url.is_some() => format!("refused {}", request()),
        (EventKind::Refused, Decision::Deny) => format!("refused a connection{}", peer()),
        (EventKind::Blocked | EventKind::Probe, Decision::Deny) => format!("blocked traffic{}", peer()),
        (EventKind::Dns, Decision::Deny) => match &record.host {
            Some(name) => format!("refused the DNS question {}", short(name)),
            None => "refused a DNS question".to_owned(),
        },
        (EventKind::Start | EventKind::Reload | EventKind::End, _) | (_, Decision::Allow) => return None,
    };
    let why = match record.denied_by() {
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

/// A URL fit to be shown, without its query, where secrets travel.
pub fn redacted(url: &str) -> String {
    match url.split_once('?') {
        Some((place, _query)) => short(place) + "?…",
        None => short(url),
    }
}

/// What may be shown of `text`, in one line.
pub(super) fn short(text: &str) -> String {
    let shown = printable(text);
    match shown.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown.into_owned(),
    }
}

/// One word for a POSIX shell, whatever is in it (POSIX.1-2024, XCU section 2.2.2).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Counts, for the terminal's own losses.
pub(super) fn lines_lost(count: impl Display) -> String {
    format!("httpjail: {count} more lines not shown")
}

#[cfg(test)]
mod tests;
