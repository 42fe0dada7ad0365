//! What the person at the terminal is told: one short line a denial.
//!
//! A jailed program can be denied thousands of times a second and chooses the URLs. So query strings (where secrets
//! travel) are hidden, long URLs are cut, the same denial again is only counted, and more than a handful a second are
//! only counted too. The request log has them all.

use super::escape::printable;
use super::record::{Decision, EventKind, Record};
use super::{Admission, Bucket};
use std::fmt::Display;
use std::time::Instant;

/// Lines at once, and lines a second in the long run.
const BURST: u32 = 20;
const PER_SECOND: u32 = 5;

/// A URL or a rule is shown up to this many characters.
const LONGEST: usize = 200;

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
}

/// Turns records into lines for stderr, or into nothing.
#[derive(Debug)]
pub(super) struct Notices {
    policy: StderrPolicy,
    bucket: Bucket,
    /// What was last said, without the process that it was said of, and how often it would have been said again.
    last: String,
    repeats: u64,
}

impl Notices {
    pub(super) fn new(policy: StderrPolicy) -> Self {
        Notices {
            policy,
            bucket: Bucket::new(BURST, PER_SECOND),
            last: String::new(),
            repeats: 0,
        }
    }

    /// The lines to print for `record`, recorded `now`.
    pub(super) fn lines(&mut self, record: &Record, now: Instant) -> Vec<String> {
        let denied = record.verdict == Some(Decision::Deny);
        let wanted = match self.policy.show {
            Show::Nothing => false,
            Show::Denials => denied && record.event != EventKind::Dns,
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
        if denied && let Some(hint) = self.policy.hint.take() {
            lines.push(format!("hint: {}", printable(&hint)));
        }
        lines
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
        let words = [record.method.as_deref().map(short), record.url.as_deref().map(url)];
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
        (EventKind::Blocked, Decision::Deny) => format!("blocked traffic{}", peer()),
        (EventKind::Dns, Decision::Deny) => {
            format!(
                "refused the DNS question {}",
                record.host.as_deref().map(short).unwrap_or_default()
            )
        }
        (EventKind::Start | EventKind::End, _) | (_, Decision::Allow) => return None,
    };
    let why = match (&record.rule, &record.reason) {
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

fn url(url: &str) -> String {
    match url.split_once('?') {
        Some((place, _query)) => short(place) + "?…",
        None => short(url),
    }
}

fn short(text: &str) -> String {
    let shown = printable(text);
    match shown.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown.into_owned(),
    }
}

/// Counts, for the terminal's own losses.
pub(super) fn lines_lost(count: impl Display) -> String {
    format!("httpjail: {count} more lines not shown")
}

#[cfg(test)]
mod tests {
    use super::*;
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
        Notices::new(StderrPolicy { show, hint: None })
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
        check(
            Show::Denials,
            &refused,
            Some("httpjail: refused a connection to 192.0.2.1:22 (not http)"),
        );
        check(
            Show::Denials,
            &blocked,
            Some("httpjail: blocked traffic to 192.0.2.1:22 (a.test)"),
        );
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
            &dns,
            Some(r"httpjail: refused the DNS question x\x0a"),
        );
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
            ["httpjail: the same 2 more times", "httpjail: denied GET v by curl"]
        );
    }

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
}
