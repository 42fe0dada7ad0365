//! G2 and G3: requests over HTTP/1.1, in the clear and decrypted, from one connection to many.

use anyhow::Result;

use super::contest::Stage;
use super::load::Order;
use super::parties::Party;
use super::report::{Aim, Row};
use super::run::Run;

const CONNECTIONS: [usize; 4] = [1, 16, 64, 512];
/// Where the slow ones are shown.
const SHOWN: usize = 16;

/// What is asked for, and what is to be reached.
struct Work {
    goal: &'static str,
    title: &'static str,
    kind: &'static str,
    bytes: usize,
    path: &'static str,
    /// At most so much of HAProxy's processor time.
    processor_time: f64,
    /// At least so much of hudsucker's rate, and of the rate without a proxy.
    rates: [f64; 2],
}

const PLAIN: [Work; 1] = [Work {
    goal: "G2",
    title: "HTTP/1.1 1 KB",
    kind: "http1",
    bytes: 1024,
    path: "/1k",
    processor_time: 1.1,
    rates: [2.0, 0.75],
}];
const HTTPS: [Work; 2] = [
    Work {
        goal: "G3",
        title: "HTTPS/1.1 0 B",
        kind: "https1",
        bytes: 0,
        path: "/0",
        processor_time: 1.0,
        rates: [1.0, 0.65],
    },
    Work {
        goal: "G3",
        title: "HTTPS/1.1 8 KB",
        kind: "https1",
        bytes: 8192,
        path: "/8k",
        processor_time: 1.0,
        rates: [1.0, 0.55],
    },
];

/// G2.
pub(super) fn plain(run: &Run) -> Result<Vec<Row>> {
    measure(run, &PLAIN)
}

/// G3.
pub(super) fn https(run: &Run) -> Result<Vec<Row>> {
    measure(run, &HTTPS)
}

fn measure(run: &Run, works: &[Work]) -> Result<Vec<Row>> {
    let mut stage = Stage::raise(run)?;
    let fast = [
        Party::direct(),
        Party::httpjail(run, &stage.rig)?,
        Party::haproxy(run, &stage.rig),
        Party::nginx(run, &stage.rig),
        Party::hudsucker(run, &stage.rig, &stage.programs),
    ];
    let slow = [Party::squid(run, &stage.rig), Party::mitmdump(run, &stage.rig)];
    let mut rows = Vec::new();
    for work in works {
        for connections in CONNECTIONS {
            let order = Order {
                kind: work.kind,
                connections,
                requests: if connections == 1 { 6_000 } else { 20_000 },
                bytes: work.bytes,
                path: work.path,
                ..Order::ONE
            };
            let slow = slow.iter().filter(|_| connections == SHOWN);
            let parties = fast.iter().chain(slow);
            let title = format!("{}, c={connections}", work.title);
            let outcome = stage.contest(work.goal, &title, parties, &order)?;
            let [hudsucker, direct] = work.rates;
            rows.push(outcome.processor_time(Aim::AtMost {
                ratio: work.processor_time,
                to: "haproxy",
            }));
            rows.push(outcome.rate(hudsucker, "hudsucker"));
            rows.push(outcome.rate(direct, "direct"));
        }
    }
    Ok(rows)
}
