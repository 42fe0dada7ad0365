//! `cargo xtask suites [NAME..]`: what others have written to find fault with proxies, and real programs, in the lab.
//!
//! By hand and before releases, not in CI: the suites install a good deal and take minutes. Each raises a lab, runs
//! what it runs through a jail and without one, and prints one table. No row believes a client where a server of the
//! lab, or the jail's log, can be asked.

mod defenses;
mod h2;
mod install;
mod programs;
mod rig;
mod slow;
mod smuggling;
pub(crate) mod table;
mod tls;
mod websocket;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, quietly};
use table::Table;

type Suite = fn(&install::Tools) -> Result<Table>;

const SUITES: [(&str, Suite); 6] = [
    ("websocket", websocket::run),
    ("h2", h2::run),
    ("tls", tls::run),
    ("slow", slow::run),
    ("smuggling", smuggling::run),
    ("programs", programs::run),
];

/// Runs the suites of these names; all if none is given.
pub(crate) fn run(names: &[String]) -> Result<()> {
    // Of our own tests, and nothing is to be installed for it.
    if let Some(("defenses", which)) = names.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return defenses::run(which);
    }
    for name in names {
        if !SUITES.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = SUITES.iter().map(|(known, _)| *known).collect();
            bail!("no suite is called {name} (there are: {})", known.join(", "));
        }
    }
    let tools = install::all().context("install what the suites need")?;
    quietly(&mut cargo(["build", "--quiet", "--package", "httpjail"]))?;
    let mut faults = 0;
    for (name, suite) in SUITES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let start = Instant::now();
        let table = suite(&tools).with_context(|| format!("suite {name}"))?;
        println!("{table}{name}: {} s\n", start.elapsed().as_secs());
        faults += table.faults();
    }
    if faults > 0 {
        bail!("{faults} rows are not as they must be");
    }
    Ok(())
}
