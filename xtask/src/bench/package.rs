//! The benches that are programs of their own (`benches/Cargo.toml`): what they compare with is large.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use super::run::Run;
use crate::run::{cargo, root};

/// Builds and runs one of them; what it wrote.
pub(super) fn bench(name: &str, arguments: &[&str], run: &Run) -> Result<String> {
    let mut bench = cargo(["bench", "--quiet", "--bench", name]);
    bench.arg("--manifest-path").arg(root().join("benches/Cargo.toml"));
    bench.arg("--target-dir").arg(root().join("target/benches"));
    bench.arg("--").args(arguments);
    run.note_command(name, &bench);
    let output = bench.stderr(Stdio::inherit()).output().context("run cargo bench")?;
    ensure!(output.status.success(), "the bench failed");
    String::from_utf8(output.stdout).context("the bench's output")
}
