//! `cargo xtask bench [GOAL...]`: the goals for speed, each against its peers in the same run.
//!
//! By hand, on an idle machine. A goal measures its contestants in turns, so that what else runs hurts all alike, and
//! gives rows; `report` judges them by the medians of each round's ratios. What they compare with is large: it is in
//! packages of its own below benches/, outside of the workspace, or installed from the distribution.

mod bulk;
mod busy;
mod connections;
mod contest;
mod density;
mod g11;
mod h2;
mod host;
mod latency;
mod line;
mod load;
mod minting;
mod package;
mod parties;
mod plot;
mod pool;
mod report;
mod requests;
mod rig;
mod run;
mod start;
mod stats;
mod steering;
mod swarm;
mod tunnel;
mod turns;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, quietly, root};
use report::Row;
use run::Run;

/// A goal's name, what it is about, and what measures it.
type Goal = (&'static str, &'static str, fn(&Run) -> Result<Vec<Row>>);

const GOALS: [Goal; 13] = [
    ("G1", "starts", start::run),
    ("G2", "plain HTTP/1.1", requests::plain),
    ("G3", "decrypted HTTPS/1.1", requests::https),
    ("G4", "decrypted h2", h2::run),
    ("G5", "added latency", latency::run),
    ("G6", "new TLS connections", connections::run),
    ("G7", "minting", minting::run),
    ("G8", "bulk and events", bulk::run),
    ("G9", "tunnels that are not opened", tunnel::run),
    ("G10", "steering", steering::run),
    ("G11", "judging by many rules", g11::run),
    ("G12", "many jails at once", density::run),
    ("G13", "starts on a busy host", busy::run),
];

/// What to measure, and how long.
pub(crate) struct Wish {
    /// All if there is none.
    pub(crate) goals: Vec<String>,
    pub(crate) rounds: usize,
    /// A fraction of the work, to see that a goal runs at all.
    pub(crate) quick: bool,
    /// Also what takes more than ten minutes.
    pub(crate) full: bool,
    /// A release build of this tree if there is none.
    pub(crate) binary: Option<PathBuf>,
}

/// Measures, prints the table, and leaves it in target/bench with the figures and a plot.
pub(crate) fn run(wish: Wish) -> Result<()> {
    let wanted: Vec<&Goal> = match wish.goals.as_slice() {
        [] => GOALS.iter().collect(),
        names => names.iter().map(|name| goal(name)).collect::<Result<_>>()?,
    };
    let binary = match wish.binary {
        Some(binary) => fs::canonicalize(&binary).with_context(|| format!("find {}", binary.display()))?,
        None => build()?,
    };
    let run = Run::new(binary, wish.rounds, wish.quick, wish.full)?;
    let results = root().join("target/bench");
    fs::create_dir_all(&results).context("make a directory for the results")?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, about, measure) in wanted {
        let start = Instant::now();
        run.say(format!("{name}: {about}"));
        match measure(&run) {
            Ok(more) => rows.extend(more),
            // The goals before it have taken minutes.
            Err(error) => failed.push(format!("{name}: {error:#}")),
        }
        run.say(format!("{name}: {} s", start.elapsed().as_secs()));
        write(&results, &run, &rows, &failed)?;
    }
    print!(
        "{}",
        fs::read_to_string(results.join("report.txt")).context("read the report")?
    );
    println!("\nin {}: report.txt, results.json, plot.svg", results.display());
    if failed.is_empty() {
        return Ok(());
    }
    bail!("not measured: {}", failed.join("; "))
}

fn goal(name: &str) -> Result<&'static Goal> {
    let known = || GOALS.map(|(name, ..)| name).join(", ");
    let found = GOALS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    found.with_context(|| format!("invalid goal `{name}`: expected one of {}", known()))
}

fn build() -> Result<PathBuf> {
    quietly(&mut cargo([
        "build",
        "--release",
        "--package",
        "httpjail",
        "--bin",
        "httpjail",
    ]))?;
    Ok(root().join("target/release/httpjail"))
}

fn write(results: &Path, run: &Run, rows: &[Row], failed: &[String]) -> Result<()> {
    let files = [
        ("report.txt", report::text(rows, &run.remarks(), failed)),
        ("results.json", report::json(rows, &run.remarks())),
        ("plot.svg", plot::svg(rows)),
    ];
    for (name, text) in files {
        fs::write(results.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}
