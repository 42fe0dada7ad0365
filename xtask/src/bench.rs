//! `cargo xtask bench NAME`: measures against others in the same run, and prints ratios with the raw numbers.
//!
//! The benches are packages of their own, outside of the workspace: what they compare with is large.

mod contestant;
pub(crate) mod proxy;

use anyhow::{Context as _, Result, ensure};

use crate::run::{cargo, root};

/// What one engine did in one setting: a line of the bench that begins with `@`.
struct Figures<'a> {
    kind: &'a str,
    rules: &'a str,
    engine: &'a str,
    /// Median and 99th percentile of a judgement (ns), building (ms), memory (MiB).
    numbers: [f64; 4],
}

/// Rules: which mixes to try, `mix/1000` for one of them.
pub(crate) fn rules(only: Option<&str>) -> Result<()> {
    let manifest = root().join("benches/Cargo.toml");
    let mut bench = cargo(["bench", "--quiet", "--bench", "rules", "--manifest-path"]);
    bench
        .arg(manifest)
        .arg("--target-dir")
        .arg(root().join("target/benches"));
    bench.arg("--").args(only);
    let output = bench
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run cargo bench")?;
    ensure!(output.status.success(), "the bench failed");
    let text = String::from_utf8(output.stdout).context("the bench's output")?;
    let figures: Vec<Figures<'_>> = text.lines().filter_map(read).collect();
    ensure!(!figures.is_empty(), "the bench measured nothing");
    print!("{}", table(&figures));
    println!("\ncriterion's own figures:");
    text.lines()
        .filter(|line| line.contains("time:"))
        .for_each(|line| println!("{line}"));
    Ok(())
}

fn read(line: &str) -> Option<Figures<'_>> {
    let mut fields = line.strip_prefix('@')?.split(';');
    let (kind, rules, engine) = (fields.next()?, fields.next()?, fields.next()?);
    let numbers: Vec<f64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    Some(Figures {
        kind,
        rules,
        engine,
        numbers: numbers.try_into().ok()?,
    })
}

fn table(figures: &[Figures<'_>]) -> String {
    let mut text = format!(
        "{:<9} {:>7}  {:<14} {:>12} {:>12} {:>9} {:>11} {:>10}  {}\n",
        "rules", "count", "engine", "p50 ns", "p99 ns", "to ours", "build ms", "MiB", "ours at 10"
    );
    for line in figures {
        let ours = |rules: &str| {
            let found =
                |other: &&Figures<'_>| other.kind == line.kind && other.rules == rules && other.engine == "httpjail";
            figures.iter().find(found).map(|found| found.numbers[0])
        };
        let ratio = |to: Option<f64>| to.map_or(String::new(), |to| format!("{:.2}", line.numbers[0] / to));
        let [p50, p99, build, memory] = line.numbers;
        text += &format!(
            "{:<9} {:>7}  {:<14} {p50:>12.1} {p99:>12.1} {:>9} {build:>11.2} {memory:>10.2}  {}\n",
            line.kind,
            line.rules,
            line.engine,
            ratio(ours(line.rules)),
            if line.engine == "httpjail" {
                ratio(ours("10"))
            } else {
                String::new()
            },
        );
    }
    text
}
