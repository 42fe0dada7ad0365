//! G8: a gibibyte in one body, down and up, and a stream of events.

use anyhow::Result;

use super::contest::contest;
use super::load::{Load, Order};
use super::parties::{Party, Programs};
use super::report::{Aim, Row};
use super::rig::Rig;
use super::run::Run;

const GIB: usize = 1 << 30;

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rig = Rig::raise(run)?;
    let programs = Programs::get(run)?;
    // Ends after those who have connections to it.
    let _endpoint = rig.start_endpoint(run, &programs.endpoint)?;
    let parties = [
        Party::direct(),
        Party::httpjail(run, &rig)?,
        Party::haproxy(run, &rig),
        Party::nginx(run, &rig),
        Party::hudsucker(run, &rig, &programs),
    ];
    let parties: Vec<&Party> = parties.iter().collect();
    let mut load = Load::start(run, &rig, &programs.load)?;
    let mut rows = Vec::new();
    for (kind, title) in [("down", "1 GiB down"), ("up", "1 GiB up")] {
        let order = Order {
            kind,
            bytes: if run.quick { GIB / 16 } else { GIB },
            ..once()
        };
        let outcome = contest(run, &rig, &mut load, ("G8", title), &parties, &order)?;
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
        ..once()
    };
    let outcome = contest(run, &rig, &mut load, ("G8", "1,000 events"), &parties, &order)?;
    rows.push(outcome.added("us added p50", Aim::AtMostAbsolute(100.0), |one| one.p50_us));
    Ok(rows)
}

fn of_direct(ratio: f64) -> Aim {
    Aim::AtLeast { ratio, to: "direct" }
}

fn once() -> Order {
    Order {
        kind: "down",
        connections: 1,
        streams: 1,
        requests: 1,
        rate: 0,
        bytes: GIB,
        path: "/down",
        endpoint: true,
    }
}
