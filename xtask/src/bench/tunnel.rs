//! G9: a tunnel that is not decrypted, with much in it and with little.

use anyhow::Result;

use super::contest::Stage;
use super::load::Order;
use super::parties::Party;
use super::report::{Aim, Row};
use super::run::Run;

const GIB: usize = 1 << 30;
const SPLICE: &str = "haproxy splice";

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let mut stage = Stage::raise(run)?;
    let _endpoint = stage.rig.start_endpoint(run, &stage.programs.endpoint)?;
    let parties = [
        Party::direct(),
        Party::unopened(run, &stage.rig)?,
        Party::relay(run, &stage.rig, true),
        Party::socat(run, &stage.rig),
    ];
    let mut rows = Vec::new();
    let proxies = |name: &str| name != "direct";
    let at_least = Aim::AtLeast {
        ratio: 0.95,
        to: SPLICE,
    };
    for (kind, title) in [("down", "1 GiB down, unopened"), ("up", "1 GiB up, unopened")] {
        let order = Order {
            kind,
            bytes: if run.quick { GIB / 16 } else { GIB },
            path: "/down",
            endpoint: true,
            ..Order::ONE
        };
        let outcome = stage.contest("G9", title, &parties, &order)?;
        rows.push(outcome.row("bodies/s", at_least, |one| one.rate, |_| true));
        rows.push(outcome.row("bodies/CPU s", at_least, |one| 1e6 / one.cpu_us, proxies));
    }
    let order = Order {
        requests: 6_000,
        endpoint: true,
        ..Order::ONE
    };
    let outcome = stage.contest("G9", "ping-pong, unopened", &parties, &order)?;
    rows.push(outcome.row("exchanges/s", at_least, |one| one.rate, |_| true));
    rows.push(outcome.row("exchanges/CPU s", at_least, |one| 1e6 / one.cpu_us, proxies));
    Ok(rows)
}
