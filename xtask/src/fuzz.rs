//! `cargo xtask fuzz`: every fuzzer for a while, from the corpus that is committed, as many at a time as there are processors.
//!
//! Without a sanitizer: what is fuzzed has no unsafe code of its own, and overflow and assertions are checked all the same.

use std::fs;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::run::{command, have, quietly, root};

/// An input that takes longer is a finding, in seconds.
const SLOW: u64 = 10;

/// Runs each for so many seconds; what one found is in fuzz/artifacts. 0 is chance's own seed, another each time.
pub(crate) fn run(seconds: u64, seed: u32) -> Result<()> {
    let limits = [format!("-max_total_time={seconds}"), format!("-seed={seed}")];
    let found = all(&limits)?;
    if !found.is_empty() {
        bail!("fuzzers found something:\n{}", found.join("\n"));
    }
    Ok(())
}

/// What CI does: every input that is known must pass. What half a minute of new ones finds is told with all that is needed to
/// repeat it, but does not decide what lands: that would be chance, and mostly about something else than the change.
pub(crate) fn check() -> Result<()> {
    let failed = all(&["-runs=0".to_owned()])?;
    if !failed.is_empty() {
        bail!("inputs of fuzz/corpus fail:\n{}", failed.join("\n"));
    }
    for found in all(&["-max_total_time=30".to_owned(), "-seed=1".to_owned()])? {
        println!("warning: FUZZ FOUND SOMETHING, mend it and add the input to fuzz/corpus: {found}");
    }
    Ok(())
}

/// Runs each with these limits; says which failed, and how.
fn all(limits: &[String]) -> Result<Vec<String>> {
    if command("cargo", ["+nightly", "--version"])
        .output()
        .map_or(true, |told| !told.status.success())
    {
        println!("fuzz: skipped, there is no nightly Rust");
        return Ok(Vec::new());
    }
    for tool in ["cargo-fuzz", "c++"] {
        if !have(tool) {
            println!("fuzz: skipped, there is no {tool}");
            return Ok(Vec::new());
        }
    }
    fuzz(&["build", "--sanitizer", "none"]).context("build the fuzzers")?;
    let listed = fuzz(&["list"])?;
    let waiting = Mutex::new(listed.lines().collect::<Vec<_>>());
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().ok()?.pop();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let outcome = one(target, limits);
                    if let (Err(error), Ok(mut failed)) = (outcome, failed.lock()) {
                        failed.push(format!("{target}: {error:#}"));
                    }
                }
            });
        }
    });
    Ok(failed.into_inner().unwrap_or_default())
}

/// The corpus is only read: what is new goes to a folder of its own.
fn one(target: &str, limits: &[String]) -> Result<()> {
    let new = root().join("fuzz/target/new").join(target);
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("remove {}", new.display()))?;
    }
    fs::create_dir_all(&new).with_context(|| format!("create {}", new.display()))?;
    let (new, known) = (new.to_string_lossy(), format!("fuzz/corpus/{target}"));
    let slow = format!("-timeout={SLOW}");
    let mut line = vec![
        "run",
        "--sanitizer",
        "none",
        target,
        &new,
        &known,
        "--",
        "-rss_limit_mb=1024",
        "-max_len=2048",
        &slow,
    ];
    line.extend(limits.iter().map(String::as_str));
    fuzz(&line).map(drop)
}

fn fuzz(arguments: &[&str]) -> Result<String> {
    let output = quietly(&mut command("cargo", ["+nightly", "fuzz"].iter().chain(arguments)))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
