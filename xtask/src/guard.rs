//! `cargo xtask guard`: how many instructions and allocations fixed work takes, counted and not timed.
//!
//! A clock tells little on a machine that others use; callgrind's counts are nearly the same every time. So continuous
//! integration can compare them with a baseline that is committed. The program itself is counted, as `httpjail serve`; origin and
//! client are outside of it. What the verifier follows of the BPF programs has its own guard, a test of
//! `jail::steering::ebpf`.

mod baseline;
mod callgrind;
mod client;
mod h2;
mod origin;
mod proxy;
mod space;
mod work;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::run::{cargo, quietly, root};
use crate::setup::debian_packages;
use baseline::{Baseline, Report};
use work::{Figures, Programs, Work};

const PROGRAMS: [(&str, &str); 1] = [("valgrind", "valgrind")];
const FOLDER: &str = "target/guard";

/// Counts, prints a table, and compares with the baseline or writes it. `binary` is counted instead of this tree's httpjail, and
/// compared with nothing; `only` names works by their beginnings.
pub(crate) fn run(write: bool, binary: Option<PathBuf>, only: &[String]) -> Result<()> {
    let is_ours = binary.is_none();
    let programs = match binary {
        Some(httpjail) => Programs { httpjail, fixed: None },
        None => build()?,
    };
    let report = count(&programs, only)?;
    print!(
        "{:<18} {:>12} {:>10}\n{}",
        "",
        "instructions",
        "allocations",
        baseline::table(&report)
    );
    println!("each function: callgrind_annotate {FOLDER}/NAME.out (all of the larger run)");
    match (write, is_ours) {
        (true, _) => baseline::write(&report),
        (false, true) => compare(&report),
        (false, false) => Ok(()),
    }
}

/// What CI does: says nothing, unless a figure has changed.
pub(crate) fn check() -> Result<()> {
    compare(&count(&build()?, &[])?)
}

fn compare(report: &Report) -> Result<()> {
    let baseline = Baseline::read()?;
    let (worse, better) = baseline.compare(report);
    let renew = "if that is meant: cargo xtask guard --write, and commit the baseline with the reason";
    for line in &better {
        println!("guard: better, {line}; {renew}");
    }
    if worse.is_empty() {
        return Ok(());
    }
    let now = baseline::toolchain()?;
    let then = &baseline.toolchain;
    let other = if now == *then {
        String::new()
    } else {
        format!("\nthe baseline was counted with {then}\nthis is {now}")
    };
    bail!(
        "more work than the baseline allows:\n{}{other}\n{renew}",
        worse.join("\n")
    )
}

/// Counts all work, as much at a time as there are processors.
fn count(programs: &Programs, only: &[String]) -> Result<Report> {
    debian_packages(&PROGRAMS)?;
    let is_named = |name: &str| only.is_empty() || only.iter().any(|only| name.starts_with(only));
    let works = work::ALL.into_iter().filter(|(name, _)| is_named(name));
    let works: Vec<(&'static str, Work)> = works.filter(|(_, work)| programs.can_do(*work)).collect();
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("make {FOLDER}"))?;
    let waiting = Mutex::new(works.iter());
    let next = || waiting.lock().ok()?.next();
    let work = || {
        let mut done = Vec::new();
        while let Some((name, work)) = next() {
            let kept = folder.join(format!("{}.out", name.replace(' ', "-")));
            done.push((
                *name,
                work::count(programs, *work, &kept).with_context(|| format!("count: {name}"))?,
            ));
        }
        Ok(done)
    };
    let mut report: Report = thread::scope(|scope| {
        let threads: Vec<_> = (0..thread::available_parallelism().map_or(1, usize::from))
            .map(|_| scope.spawn(work))
            .collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.collect::<Result<Vec<Vec<(&'static str, Figures)>>>>()
    })?
    .concat();
    report.sort_by_key(|(name, _)| works.iter().position(|(known, _)| known == name));
    Ok(report)
}

/// Builds what is counted: our code optimized, on top of the dependencies that the tests are built with. That takes a minute where a
/// release build takes several. The counts are a fifth larger than those of a release.
fn build() -> Result<Programs> {
    let mut build = cargo([
        "build",
        "--workspace",
        "--bin=httpjail",
        "--bench=fixed",
        "--message-format=json-render-diagnostics",
    ]);
    // Without increments, which would make the code depend on what was built before.
    for setting in ["opt-level=2", "codegen-units=16", "incremental=false"] {
        build.args(["--config", &format!("profile.dev.package.httpjail.{setting}")]);
    }
    let output = quietly(&mut build)?;
    let text = String::from_utf8_lossy(&output.stdout);
    fs::create_dir_all(root().join(FOLDER)).with_context(|| format!("make {FOLDER}"))?;
    let executable = |name: &str| -> Result<PathBuf> {
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut built = messages.filter(|message| message["target"]["name"] == name);
        let built = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
        let built = built.with_context(|| format!("cargo built no {name}"))?;
        // Cargo's own place for it is also that of the program without optimizations.
        let kept = root().join(FOLDER).join(name);
        fs::copy(&built, &kept).with_context(|| format!("copy {}", built.display()))?;
        Ok(kept)
    };
    Ok(Programs {
        httpjail: executable("httpjail")?,
        fixed: Some(executable("fixed")?),
    })
}
