//! G4: decrypted h2, many streams on few connections and few on many.

use anyhow::Result;

use super::contest::Stage;
use super::load::Order;
use super::parties::Party;
use super::report::{Aim, Row};
use super::run::Run;

/// Connections, streams of each, bytes, path, and what the rate must be of the rate without a proxy.
const WORKS: [(usize, usize, usize, &str, f64); 4] = [
    (4, 32, 0, "/0", 0.65),
    (4, 32, 8192, "/8k", 0.8),
    (64, 8, 0, "/0", 0.65),
    (64, 8, 8192, "/8k", 0.8),
];

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let mut stage = Stage::raise(run)?;
    let parties = [
        Party::direct(),
        Party::httpjail(run, &stage.rig)?,
        Party::haproxy(run, &stage.rig),
        Party::nghttpx(run, &stage.rig),
        Party::hudsucker(run, &stage.rig, &stage.programs),
    ];
    let mut rows = Vec::new();
    for (connections, streams, bytes, path, of_direct) in WORKS {
        let order = Order {
            kind: "h2",
            connections,
            streams,
            requests: 20_000,
            bytes,
            path,
            ..Order::ONE
        };
        let title = format!("h2 {connections} x {streams}, {bytes} B");
        let outcome = stage.contest("G4", &title, &parties, &order)?;
        rows.push(outcome.processor_time(Aim::Shown));
        rows.push(outcome.rate(of_direct, "direct"));
        rows.push(outcome.rate(1.5, "hudsucker"));
    }
    Ok(rows)
}
