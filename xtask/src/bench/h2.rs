//! G4: decrypted h2, many streams on few connections and few on many.

use anyhow::Result;

use super::contest::contest;
use super::load::{Load, Order};
use super::parties::{Party, Programs};
use super::report::{Aim, Row};
use super::rig::Rig;
use super::run::Run;

/// Connections, streams of each, bytes, path, and what the rate must be of the rate without a proxy.
const WORKS: [(usize, usize, usize, &str, f64); 4] = [
    (4, 32, 0, "/0", 0.65),
    (4, 32, 8192, "/8k", 0.8),
    (64, 8, 0, "/0", 0.65),
    (64, 8, 8192, "/8k", 0.8),
];

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rig = Rig::raise(run)?;
    let programs = Programs::get(run)?;
    let parties = [
        Party::direct(),
        Party::httpjail(run, &rig)?,
        Party::haproxy(run, &rig),
        Party::nghttpx(run, &rig),
        Party::hudsucker(run, &rig, &programs),
    ];
    let parties: Vec<&Party> = parties.iter().collect();
    let mut load = Load::start(run, &rig, &programs.load)?;
    let mut rows = Vec::new();
    for (connections, streams, bytes, path, of_direct) in WORKS {
        let order = Order {
            kind: "h2",
            connections,
            streams,
            requests: 20_000,
            rate: 0,
            bytes,
            path,
            endpoint: false,
        };
        let title = format!("h2 {connections} x {streams}, {bytes} B");
        let outcome = contest(run, &rig, &mut load, ("G4", &title), &parties, &order)?;
        rows.push(outcome.processor_time(Aim::Shown));
        rows.push(outcome.rate(of_direct, "direct"));
        rows.push(outcome.rate(1.5, "hudsucker"));
    }
    Ok(rows)
}
