//! G6: connections over TLS with one request each, to a name that has been seen before; new ones, and such as resume.

use anyhow::Result;

use super::contest::Stage;
use super::load::Order;
use super::parties::Party;
use super::report::{Aim, Row};
use super::run::Run;

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let mut stage = Stage::raise(run)?;
    let parties = [
        Party::httpjail(run, &stage.rig)?,
        Party::haproxy(run, &stage.rig),
        Party::nginx(run, &stage.rig),
        Party::hudsucker(run, &stage.rig, &stage.programs),
        Party::rustls(run, &stage.rig, &stage.programs),
    ];
    let mut rows = Vec::new();
    for kind in ["fresh", "resumed"] {
        let order = Order {
            kind,
            connections: 8,
            // Each leaves a local port that cannot be used for a minute.
            requests: (20_000 / run.rounds).min(1_500),
            ..Order::ONE
        };
        let title = format!("{kind} TLS connections");
        let outcome = stage.contest("G6", &title, &parties, &order)?;
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
