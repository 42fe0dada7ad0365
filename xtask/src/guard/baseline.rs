//! What the work took when the baseline was written, and what may be said of what it takes now.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::work::Figures;
use crate::run::{command, quietly, root};

/// By how much a figure may differ from the baseline's: a share of it, and so much besides. Counts of one tree differ by half a
/// hundredth at most. What the compiler inlines changes with code that has nothing to do with the work: a verdict of 2,250 instructions
/// once became one of 2,080. Neither touches allocations: one more a request is found.
const INSTRUCTIONS: (f64, f64) = (0.03, 250.0);
const ALLOCATIONS: (f64, f64) = (0.005, 0.5);

/// How the work went, in the order in which it is shown.
pub(super) type Report = Vec<(&'static str, Figures)>;

pub(super) fn path() -> PathBuf {
    root().join("xtask/src/guard/baseline.txt")
}

/// The figures that were written, each a name and two numbers, and the line about what they were counted with.
pub(super) struct Baseline {
    pub(super) toolchain: String,
    figures: Vec<(String, Figures)>,
}

impl Baseline {
    pub(super) fn read() -> Result<Baseline> {
        let text = fs::read_to_string(path()).context("read the baseline")?;
        Baseline::parse(&text).context("the baseline is malformed")
    }

    fn parse(text: &str) -> Option<Baseline> {
        let (toolchain, lines) = text.split_once('\n')?;
        let figures = lines.lines().map(|line| {
            let (rest, allocations) = line.trim_end().rsplit_once(' ')?;
            let (name, instructions) = rest.trim_end().rsplit_once(' ')?;
            let figures = Figures {
                instructions: instructions.parse().ok()?,
                allocations: allocations.parse().ok()?,
            };
            Some((name.trim_end().to_owned(), figures))
        });
        Some(Baseline {
            toolchain: toolchain.strip_prefix("# ")?.to_owned(),
            figures: figures.collect::<Option<_>>()?,
        })
    }

    fn of(&self, name: &str) -> Option<Figures> {
        self.figures
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, figures)| *figures)
    }

    /// Returns a line for each figure that exceeds the baseline's, and one for each that fell well below it.
    pub(super) fn compare(&self, report: &Report) -> (Vec<String>, Vec<String>) {
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        for (name, now) in report {
            let Some(then) = self.of(name) else {
                worse.push(format!("{name}: not in the baseline"));
                continue;
            };
            for (what, (share, slack), then, now) in [
                ("instructions", INSTRUCTIONS, then.instructions, now.instructions),
                ("allocations", ALLOCATIONS, then.allocations, now.allocations),
            ] {
                let margin = then * share + slack;
                let line = || {
                    format!(
                        "{name}: {what} {now:.1}, baseline {then:.1} ({:+.1} %)",
                        (now / then - 1.0) * 100.0
                    )
                };
                if now > then + margin {
                    worse.push(line());
                } else if now < then - margin {
                    better.push(line());
                }
            }
        }
        (worse, better)
    }
}

/// Writes `report` as the baseline.
pub(super) fn write(report: &Report) -> Result<()> {
    let text = format!("# {}\n{}", toolchain()?, table(report));
    fs::write(path(), text).context("write the baseline")
}

/// Returns a line for each work.
pub(super) fn table(report: &Report) -> String {
    report.iter().fold(String::new(), |mut text, (name, figures)| {
        let (instructions, allocations) = (figures.instructions, figures.allocations);
        // Writing into a text does not fail.
        let _ = writeln!(text, "{name:<18} {instructions:>12.1} {allocations:>10.1}");
        text
    })
}

/// Returns what the counts depend on besides the tree.
pub(super) fn toolchain() -> Result<String> {
    let first = |program: &str, option: &str| -> Result<String> {
        let output = quietly(&mut command(program, [option]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    };
    Ok(format!(
        "{}, {}, {}",
        first("rustc", "--version")?,
        first("ldd", "--version")?,
        first("valgrind", "--version")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        Baseline::parse("# rustc 1\nh1 TLS request   100000.0   40.0\nmint    200.5  3.0\n").expect("a baseline")
    }

    fn report(instructions: f64, allocations: f64) -> Report {
        vec![(
            "h1 TLS request",
            Figures {
                instructions,
                allocations,
            },
        )]
    }

    #[test]
    fn what_is_written_is_read() {
        let written = table(&report(1234.5, 7.0));
        let read = Baseline::parse(&format!("# rustc 1\n{written}")).expect("a baseline");
        assert_eq!(read.of("h1 TLS request"), Some(report(1234.5, 7.0)[0].1));
    }

    #[test]
    fn more_than_the_margin_is_red_and_less_is_told() {
        assert_eq!(baseline().compare(&report(100_000.0, 40.0)), (vec![], vec![]));
        assert_eq!(baseline().compare(&report(103_200.0, 40.5)), (vec![], vec![]));
        let (worse, better) = baseline().compare(&report(103_300.0, 30.0));
        assert_eq!(
            worse,
            ["h1 TLS request: instructions 103300.0, baseline 100000.0 (+3.3 %)"]
        );
        assert_eq!(better, ["h1 TLS request: allocations 30.0, baseline 40.0 (-25.0 %)"]);
        let (worse, better) = baseline().compare(&report(96_000.0, 41.0));
        assert_eq!((worse.len(), better.len()), (1, 1));
    }

    #[test]
    fn work_without_a_baseline_is_red() {
        let (worse, _) = baseline().compare(&vec![("judge", report(1.0, 1.0)[0].1)]);
        assert_eq!(worse, ["judge: not in the baseline"]);
    }
}
