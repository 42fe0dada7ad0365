//! G11: judging by 10, 1,000 and 100,000 rules, against a loop of `Regex`, `RegexSet` and adblock.

use anyhow::{Context as _, Result, ensure};

use super::report::{Aim, Role, Row, Samples};
use super::run::Run;
use crate::run::{cargo, root};

/// What one engine did in one setting: a line of the bench that begins with `@`.
struct Figures<'a> {
    kind: &'a str,
    rules: &'a str,
    engine: &'a str,
    /// Median and 99th percentile of a judgement (ns), building (ms), memory (MiB).
    numbers: [f64; 4],
}

/// Judges what the bench of rules measures.
pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let mut bench = cargo(["bench", "--quiet", "--bench", "rules"]);
    bench.arg("--manifest-path").arg(root().join("benches/Cargo.toml"));
    bench.arg("--target-dir").arg(root().join("target/benches"));
    run.note_command("rules", &bench);
    let output = bench.stderr(std::process::Stdio::inherit()).output();
    let output = output.context("run cargo bench")?;
    ensure!(output.status.success(), "the bench failed");
    let text = String::from_utf8(output.stdout).context("the bench's output")?;
    let figures: Vec<Figures<'_>> = text.lines().filter_map(read).collect();
    ensure!(!figures.is_empty(), "the bench measured nothing");
    let mut settings: Vec<(&str, &str)> = figures.iter().map(|one| (one.kind, one.rules)).collect();
    settings.dedup();
    let growth = settings.iter().filter(|(_, rules)| *rules == "100000");
    let growth: Vec<Row> = growth.map(|(kind, _)| grown(kind, &figures)).collect();
    Ok(settings
        .iter()
        .map(|setting| row(*setting, &figures))
        .chain(growth)
        .collect())
}

/// How 100,000 rules compare with ten.
fn grown(kind: &str, figures: &[Figures<'_>]) -> Row {
    let ours = |rules| {
        let found = |one: &&Figures<'_>| (one.kind, one.rules, one.engine) == (kind, rules, "httpjail");
        figures.iter().find(found).map(|one| one.numbers[0])
    };
    let small = "httpjail, 10 rules";
    Row {
        goal: "G11",
        work: format!("{kind}, 100000 rules to 10"),
        unit: "ns p50",
        contestants: vec![
            Samples::new("httpjail", Role::Ours, ours("100000").into_iter().collect()),
            ours("10").map_or(Samples::missing(small, Role::Limit), |ten| {
                Samples::new(small, Role::Limit, vec![ten])
            }),
        ],
        aim: Aim::AtMost { ratio: 3.0, to: small },
        notes: Vec::new(),
    }
}

fn row((kind, rules): (&str, &str), figures: &[Figures<'_>]) -> Row {
    let samples = |one: &Figures<'_>| {
        let [p50, p99, build, memory] = one.numbers;
        let role = if one.engine == "httpjail" {
            Role::Ours
        } else {
            Role::Peer
        };
        Samples {
            also: vec![("p99 ns", vec![p99]), ("build ms", vec![build]), ("MiB", vec![memory])],
            ..Samples::new(one.engine, role, vec![p50])
        }
    };
    let of = figures.iter().filter(|one| (one.kind, one.rules) == (kind, rules));
    Row {
        goal: "G11",
        work: format!("{kind}, {rules} rules"),
        unit: "ns p50",
        contestants: of.map(samples).collect(),
        aim: match rules {
            "10" => Aim::AtMostAbsolute(200.0),
            "1000" => Aim::AtMostAbsolute(400.0),
            "100000" => Aim::AtMostAbsolute(800.0),
            _ => Aim::Shown,
        },
        notes: Vec::new(),
    }
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
