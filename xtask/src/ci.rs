//! `cargo xtask ci`: everything that a change must pass. One line a step; the end of the output only on failure.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::run::quietly;
use crate::{ebpf, foreign, fuzz, guard, lint, package, setup, test, vm};

/// A task of its own.
type Step = fn() -> Result<()>;

/// Runs all steps, and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let steps: [(&str, Step); 9] = [
        ("setup", setup::run),
        ("lint", lint::run),
        ("ebpf", || ebpf::run(true, false)),
        ("test", tests),
        ("guard", guard::check),
        ("fuzz", fuzz::check),
        ("package", package::run),
        ("foreign", foreign::run),
        ("vm", vm::check),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        step().with_context(|| format!("step {name} failed"))?;
        println!("ci: {name} ok ({} s)", start.elapsed().as_secs());
    }
    Ok(())
}

fn tests() -> Result<()> {
    let output = quietly(
        test::runner()
            .env("HTTPJAIL_TEST_REQUIRE", "1")
            .env("NEXTEST_PROFILE", "ci"),
    )?;
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    for line in said.lines().filter(|line| {
        ["Summary [", "FLAKY ", "test result:"]
            .iter()
            .any(|word| line.contains(word))
    }) {
        println!("{}", line.trim());
    }
    quietly(&mut test::examples()).map(drop)
}
