//! G9: a tunnel that is not decrypted, with much in it and with little.

use anyhow::Result;

use super::contest::contest;
use super::load::{Load, Order};
use super::parties::{Party, Programs};
use super::report::{Aim, Row};
use super::rig::Rig;
use super::run::Run;

const GIB: usize = 1 << 30;
const SPLICE: &str = "haproxy splice";

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rig = Rig::raise(run)?;
    let programs = Programs::get(run)?;
    let _endpoint = rig.start_endpoint(run, &programs.endpoint)?;
    let parties = [
        Party::direct(),
        Party::unopened(run, &rig)?,
        Party::relay(run, &rig, true),
        Party::socat(run, &rig),
    ];
    let parties: Vec<&Party> = parties.iter().collect();
    let mut load = Load::start(run, &rig, &programs.load)?;
    let mut rows = Vec::new();
    let proxies = |name: &str| name != "direct";
    let at_least = Aim::AtLeast {
        ratio: 0.95,
        to: SPLICE,
    };
    for (kind, title) in [("down", "1 GiB down, unopened"), ("up", "1 GiB up, unopened")] {
        let order = Order {
            kind,
            connections: 1,
            streams: 1,
            requests: 1,
            rate: 0,
            bytes: if run.quick { GIB / 16 } else { GIB },
            path: "/down",
            endpoint: true,
        };
        let outcome = contest(run, &rig, &mut load, ("G9", title), &parties, &order)?;
        rows.push(outcome.row("bodies/s", at_least, |one| one.rate, |_| true));
        rows.push(outcome.row("bodies/CPU s", at_least, |one| 1e6 / one.cpu_us, proxies));
    }
    let order = Order {
        kind: "https1",
        connections: 1,
        streams: 1,
        requests: 6_000,
        rate: 0,
        bytes: 0,
        path: "/0",
        endpoint: true,
    };
    let outcome = contest(run, &rig, &mut load, ("G9", "ping-pong, unopened"), &parties, &order)?;
    rows.push(outcome.row("exchanges/s", at_least, |one| one.rate, |_| true));
    rows.push(outcome.row("exchanges/CPU s", at_least, |one| 1e6 / one.cpu_us, proxies));
    Ok(rows)
}
