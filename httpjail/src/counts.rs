//! What a proxy has counted, as plain data: the proxy takes a snapshot, the control socket passes it on, and the metrics spell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a proxy has counted since it began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Requests that have ended, by what they were and what became of them; those of which there were none are left out.
    pub(crate) requests: Vec<Requests>,
    /// Requests and connections that were refused, by the class of the refusal.
    pub(crate) refused: BTreeMap<String, u64>,
    /// From a request's head to the head of the server's answer.
    pub(crate) latency: Latency,
    /// Body bytes of requests that have ended, to servers.
    pub(crate) bytes_in: u64,
    /// The same, to clients.
    pub(crate) bytes_out: u64,
    /// Client connections now.
    pub(crate) clients: u64,
    /// Upstream connections now.
    pub(crate) upstreams: u64,
    /// Upstream connections that were dialed.
    pub(crate) upstreams_dialed: u64,
}

/// How many requests of a kind there were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    /// `allow` or `deny`.
    pub(crate) verdict: String,
    /// The method, or `other`.
    pub(crate) method: String,
    /// The class of the answer's status, such as `2xx`; `none` without an answer.
    pub(crate) status: String,
    pub(crate) count: u64,
}

/// How long answers took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The longest time of each bucket, in seconds, from the shortest; the bucket beyond is the last of `counts`.
    pub(crate) bounds: Vec<f64>,
    /// How many answers are in each bucket, and in no bucket before it.
    pub(crate) counts: Vec<u64>,
    /// All times together, in seconds.
    pub(crate) sum: f64,
}

impl Counts {
    /// Returns how many requests there were, and how many of them were denied.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let sum = |wanted: fn(&&Requests) -> bool| self.requests.iter().filter(wanted).map(|some| some.count).sum();
        (sum(|_| true), sum(|some| some.verdict == "deny"))
    }
}
