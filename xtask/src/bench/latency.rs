//! G5: what a proxy adds to the time that a request takes, at a fixed rate.

use anyhow::Result;

use super::contest::contest;
use super::load::{Load, Order};
use super::parties::{Party, Programs};
use super::report::{Aim, Row};
use super::rig::Rig;
use super::run::Run;

const RATES: [usize; 2] = [2_000, 8_000];
const RELAY: &str = "haproxy relay";

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rig = Rig::raise(run)?;
    let programs = Programs::get(run)?;
    let parties = [
        Party::direct(),
        Party::httpjail(run, &rig)?,
        Party::relay(run, &rig, false),
        Party::haproxy(run, &rig),
        Party::nginx(run, &rig),
        Party::hudsucker(run, &rig, &programs),
    ];
    let parties: Vec<&Party> = parties.iter().collect();
    let mut load = Load::start(run, &rig, &programs.load)?;
    let mut rows = Vec::new();
    for rate in RATES {
        let order = Order {
            kind: "https1",
            connections: 16,
            streams: 1,
            requests: rate * 3 / 2,
            rate,
            bytes: 0,
            path: "/0",
            endpoint: false,
        };
        let title = format!("HTTPS/1.1 0 B, {rate}/s");
        let outcome = contest(run, &rig, &mut load, ("G5", &title), &parties, &order)?;
        let at_most = |ratio| Aim::AtMost { ratio, to: RELAY };
        rows.push(outcome.added("us added p50", at_most(1.3), |one| one.p50_us));
        rows.push(outcome.added("us added p99", at_most(2.0), |one| one.p99_us));
    }
    Ok(rows)
}
