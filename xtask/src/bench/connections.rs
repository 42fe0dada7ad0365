//! G6: connections over TLS with one request each, to a name that has been seen before; new ones, and such as resume.

use anyhow::Result;

use super::contest::contest;
use super::load::{Load, Order};
use super::parties::{Party, Programs};
use super::report::{Aim, Row};
use super::rig::Rig;
use super::run::Run;

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rig = Rig::raise(run)?;
    let programs = Programs::get(run)?;
    let parties = [
        Party::httpjail(run, &rig)?,
        Party::haproxy(run, &rig),
        Party::nginx(run, &rig),
        Party::hudsucker(run, &rig, &programs),
        Party::rustls(run, &rig, &programs),
    ];
    let parties: Vec<&Party> = parties.iter().collect();
    let mut load = Load::start(run, &rig, &programs.load)?;
    let mut rows = Vec::new();
    for kind in ["fresh", "resumed"] {
        let order = Order {
            kind,
            connections: 8,
            streams: 1,
            // Each leaves a local port that cannot be used for a minute.
            requests: (20_000 / run.rounds).min(1_500),
            rate: 0,
            bytes: 0,
            path: "/0",
            endpoint: false,
        };
        let title = format!("{kind} TLS connections");
        let outcome = contest(run, &rig, &mut load, ("G6", &title), &parties, &order)?;
        let rate = |aim| outcome.row("connections/CPU s", aim, |one| 1e6 / one.cpu_us, |_| true);
        match kind {
            "fresh" => {
                rows.push(rate(Aim::AtLeast {
                    ratio: 1.3,
                    to: "haproxy",
                }));
                rows.push(rate(Aim::AtLeast {
                    ratio: 0.7,
                    to: "rustls",
                }));
            }
            _ => rows.push(rate(Aim::Shown)),
        }
    }
    Ok(rows)
}
