//! G5: what a proxy adds to the time that a request takes, at a fixed rate.

use anyhow::Result;

use super::contest::Stage;
use super::load::Order;
use super::parties::Party;
use super::report::{Aim, Row};
use super::run::Run;

const RATES: [usize; 2] = [2_000, 8_000];
const RELAY: &str = "haproxy relay";

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let mut stage = Stage::raise(run)?;
    let parties = [
        Party::direct(),
        Party::httpjail(run, &stage.rig)?,
        Party::relay(run, &stage.rig, false),
        Party::haproxy(run, &stage.rig),
        Party::nginx(run, &stage.rig),
        Party::hudsucker(run, &stage.rig, &stage.programs),
    ];
    let mut rows = Vec::new();
    for rate in RATES {
        let order = Order {
            connections: 16,
            requests: rate * 3 / 2,
            rate,
            ..Order::ONE
        };
        let title = format!("HTTPS/1.1 0 B, {rate}/s");
        let outcome = stage.contest("G5", &title, &parties, &order)?;
        let at_most = |ratio| Aim::AtMost { ratio, to: RELAY };
        rows.push(outcome.added("us added p50", at_most(1.3), |one| one.p50_us));
        rows.push(outcome.added("us added p99", at_most(2.0), |one| one.p99_us));
    }
    Ok(rows)
}
