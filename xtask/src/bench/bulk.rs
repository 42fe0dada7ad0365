//! G8: a gibibyte in one body, down and up, and a stream of events.

use anyhow::Result;

use super::contest::Stage;
use super::load::Order;
use super::parties::Party;
use super::report::{Aim, Row};
use super::run::Run;

const GIB: usize = 1 << 30;

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let mut stage = Stage::raise(run)?;
    // Ends after those who have connections to it.
    let _endpoint = stage.rig.start_endpoint(run, &stage.programs.endpoint)?;
    let parties = [
        Party::direct(),
        Party::httpjail(run, &stage.rig)?,
        Party::haproxy(run, &stage.rig),
        Party::nginx(run, &stage.rig),
        Party::hudsucker(run, &stage.rig, &stage.programs),
    ];
    let mut rows = Vec::new();
    for (kind, title) in [("down", "1 GiB down"), ("up", "1 GiB up")] {
        let order = Order {
            kind,
            bytes: if run.quick { GIB / 16 } else { GIB },
            path: "/down",
            endpoint: true,
            ..Order::ONE
        };
        let outcome = stage.contest("G8", title, &parties, &order)?;
        rows.push(outcome.row("bodies/s", of_direct(0.55), |one| one.rate, |_| true));
        let proxies = |name: &str| name != "direct";
        rows.push(outcome.row("ms CPU/body", Aim::Shown, |one| one.cpu_us / 1e3, proxies));
        rows.push(outcome.row(
            "MiB more at most",
            Aim::AtMostAbsolute(2.0),
            |one| one.memory_mib,
            proxies,
        ));
    }
    let order = Order {
        kind: "events",
        bytes: if run.quick { 100 } else { 1_000 },
        path: "/down",
        endpoint: true,
        ..Order::ONE
    };
    let outcome = stage.contest("G8", "1,000 events", &parties, &order)?;
    rows.push(outcome.added("us added p50", Aim::AtMostAbsolute(100.0), |one| one.p50_us));
    Ok(rows)
}

fn of_direct(ratio: f64) -> Aim {
    Aim::AtLeast { ratio, to: "direct" }
}
