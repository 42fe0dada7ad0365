//! Counts what the proxy does: one atomic addition for each thing that is counted, no lock, no memory.
//!
//! The numbers are read one after the other. So two of them need not agree to the last request.

use crate::audit::{Decision, EventKind, Record};
use crate::counts::{Counts, Latency, Requests};
use crate::proxy::refusal::Kind;
use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Methods that are told apart; any other is the last.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "other",
];
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const VERDICTS: [&str; 2] = ["deny", "allow"];
/// In microseconds.
const BOUNDS: [u64; 12] = [
    1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
/// The classes of refusals, in the order of [`class`]; the last is a connection that is not HTTP.
const CLASSES: [&str; 12] = [
    "denied",
    "unlogged",
    "busy",
    "malformed",
    "too-large",
    "mismatch",
    "unauthenticated",
    "unsupported",
    "upstream",
    "unread",
    "timed-out",
    "connection",
];

type Group<const N: usize> = [AtomicU64; N];

/// What is counted where it happens. What is there now is looked up when somebody asks.
#[derive(Debug)]
pub(crate) struct Counters {
    requests: [[Group<{ STATUSES.len() }>; METHODS.len()]; VERDICTS.len()],
    refused: Group<{ CLASSES.len() }>,
    latency: Group<{ BOUNDS.len() + 1 }>,
    /// In microseconds.
    latency_sum: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        let zero = || AtomicU64::new(0);
        Counters {
            requests: from_fn(|_| from_fn(|_| from_fn(|_| zero()))),
            refused: from_fn(|_| zero()),
            latency: from_fn(|_| zero()),
            latency_sum: zero(),
            bytes_in: zero(),
            bytes_out: zero(),
        }
    }

    /// Counts what a record tells of.
    pub(crate) fn record(&self, record: &Record) {
        match record.event {
            EventKind::Request => self.request(record),
            // A head that cannot be read is answered with a status.
            EventKind::Refused => match record.status {
                Some(431) => self.refused(Kind::TooLarge),
                Some(_) => self.refused(Kind::Malformed),
                None => add(self.refused.last(), 1),
            },
            _ => {}
        }
    }

    fn request(&self, record: &Record) {
        let method = record.method.as_deref().unwrap_or_default();
        let known = METHODS.iter().position(|known| *known == method);
        let status = record
            .status
            .map_or(0, |status| usize::from(status / 100).min(STATUSES.len() - 1));
        let of_verdict = self.requests.get(usize::from(record.verdict == Some(Decision::Allow)));
        let of_method = of_verdict.and_then(|methods| methods.get(known.unwrap_or(METHODS.len() - 1)));
        add(of_method.and_then(|statuses| statuses.get(status)), 1);
        add(Some(&self.bytes_in), record.bytes_in.unwrap_or(0));
        add(Some(&self.bytes_out), record.bytes_out.unwrap_or(0));
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, kind: Kind) {
        add(self.refused.get(class(kind)), 1);
    }

    /// Counts an answer of a server, whose head came after this time.
    pub(crate) fn answered(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
        add(self.latency.get(bucket.unwrap_or(BOUNDS.len())), 1);
        add(Some(&self.latency_sum), micros);
    }

    /// Returns what was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut requests = Vec::new();
        for (verdict, methods) in VERDICTS.iter().zip(&self.requests) {
            for (method, statuses) in METHODS.iter().zip(methods) {
                for (status, count) in STATUSES.iter().zip(statuses).filter(|(_, count)| read(count) > 0) {
                    requests.push(Requests {
                        verdict: (*verdict).to_owned(),
                        method: (*method).to_owned(),
                        status: (*status).to_owned(),
                        count: read(count),
                    });
                }
            }
        }
        let refused = CLASSES.iter().zip(&self.refused);
        Counts {
            requests,
            refused: refused
                .map(|(class, count)| ((*class).to_owned(), read(count)))
                .collect(),
            latency: Latency {
                bounds: BOUNDS.iter().map(|bound| seconds(*bound)).collect(),
                counts: self.latency.iter().map(read).collect(),
                sum: seconds(read(&self.latency_sum)),
            },
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            ..Counts::default()
        }
    }
}

fn class(kind: Kind) -> usize {
    match kind {
        Kind::Denied => 0,
        Kind::Unlogged => 1,
        Kind::Busy => 2,
        Kind::Malformed => 3,
        Kind::TooLarge => 4,
        Kind::Mismatch => 5,
        Kind::Unauthenticated => 6,
        Kind::Unsupported => 7,
        Kind::Upstream => 8,
        Kind::Unread => 9,
        Kind::TimedOut => 10,
    }
}

fn add(counter: Option<&AtomicU64>, number: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(verdict: Decision, method: &str, status: Option<u16>) -> Record {
        Record {
            verdict: Some(verdict),
            method: Some(method.into()),
            status,
            bytes_in: Some(1),
            bytes_out: Some(10),
            ..Record::new(EventKind::Request)
        }
    }

    #[test]
    fn requests_are_counted_by_what_they_were() {
        let counters = Counters::new();
        for (verdict, method, status) in [
            (Decision::Allow, "GET", Some(200)),
            (Decision::Allow, "GET", Some(299)),
            (Decision::Deny, "BREW", Some(403)),
            (Decision::Allow, "POST", None),
            (Decision::Allow, "POST", Some(999)),
        ] {
            counters.record(&record(verdict, method, status));
        }
        counters.record(&Record::new(EventKind::Start));
        let counts = counters.counts();
        let requests = counts.requests.iter();
        let requests: Vec<(&str, &str, &str, u64)> = requests
            .map(|some| (&*some.verdict, &*some.method, &*some.status, some.count))
            .collect();
        let expected = [
            ("deny", "other", "4xx", 1),
            ("allow", "GET", "2xx", 2),
            ("allow", "POST", "none", 1),
            ("allow", "POST", "5xx", 1),
        ];
        assert_eq!(requests, expected);
        assert_eq!((counts.bytes_in, counts.bytes_out, counts.totals()), (5, 50, (5, 1)));
    }

    #[test]
    fn each_kind_of_refusal_has_its_class() {
        let counters = Counters::new();
        for (kind, class) in [
            (Kind::Denied, "denied"),
            (Kind::Unlogged, "unlogged"),
            (Kind::Busy, "busy"),
            (Kind::Malformed, "malformed"),
            (Kind::TooLarge, "too-large"),
            (Kind::Mismatch, "mismatch"),
            (Kind::Unauthenticated, "unauthenticated"),
            (Kind::Unsupported, "unsupported"),
            (Kind::Upstream, "upstream"),
            (Kind::Unread, "unread"),
            (Kind::TimedOut, "timed-out"),
        ] {
            counters.refused(kind);
            assert_eq!(counters.counts().refused.get(class), Some(&1), "{class}");
        }
        counters.record(&Record::new(EventKind::Refused));
        assert!(counters.counts().refused.values().all(|count| *count == 1));
        for (status, class) in [(400, "malformed"), (431, "too-large")] {
            counters.record(&Record {
                status: Some(status),
                ..Record::new(EventKind::Refused)
            });
            assert_eq!(counters.counts().refused.get(class), Some(&2), "{status}");
        }
    }

    #[test]
    fn an_answer_is_in_the_first_bucket_that_holds_it() {
        let counters = Counters::new();
        for micros in [0, 1000, 1001, 9_000_000, 10_000_001, 3_600_000_000] {
            counters.answered(Duration::from_micros(micros));
        }
        let latency = counters.counts().latency;
        assert_eq!(latency.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(latency.bounds.len() + 1, latency.counts.len());
        assert!((latency.sum - 3_619.002_002).abs() < 1e-6, "{}", latency.sum);
    }
}
