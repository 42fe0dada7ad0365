//! G11: judging by 10, 1,000 and 100,000 rules, against a loop of `Regex`, `RegexSet` and adblock.

use anyhow::{Result, ensure};

use super::package;
use super::report::{Aim, Role, Row, Samples};
use super::run::Run;

const OURS: &str = "httpjail";
const LOOP: &str = "loop of Regex";
const TEN: &str = "httpjail, 10 rules";

/// What one engine did in one setting: a line of the bench that begins with `@`.
struct Figures<'a> {
    kind: &'a str,
    rules: &'a str,
    engine: &'a str,
    /// Nanoseconds of a judgement in each round: the median, and the 99th percentile.
    p50: Vec<f64>,
    p99: Vec<f64>,
    build_ms: f64,
    mib: f64,
}

/// Judges what the bench of rules measures.
pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rounds = run.rounds.to_string();
    let arguments: &[&str] = if run.quick { &[&rounds, "mix/1000"] } else { &[&rounds] };
    let text = package::bench("rules", arguments, run)?;
    let figures: Vec<Figures<'_>> = text.lines().filter_map(read).collect();
    ensure!(!figures.is_empty(), "the bench measured nothing");
    let mut settings: Vec<(&str, &str)> = figures.iter().map(|one| (one.kind, one.rules)).collect();
    settings.dedup();
    Ok(settings
        .iter()
        .flat_map(|(kind, rules)| rows(kind, rules, &figures))
        .collect())
}

fn rows(kind: &str, rules: &str, figures: &[Figures<'_>]) -> Vec<Row> {
    let here = || figures.iter().filter(|one| (one.kind, one.rules) == (kind, rules));
    let row = |work: &str, unit, aim, figure: fn(&Figures<'_>) -> Vec<f64>| Row {
        goal: "G11",
        work: format!("{kind}, {rules} rules{work}"),
        unit,
        contestants: here()
            .map(|one| {
                let role = if one.engine == OURS { Role::Ours } else { Role::Peer };
                Samples::new(one.engine, role, figure(one))
            })
            .collect(),
        aim,
        notes: Vec::new(),
    };
    let p50 = |aim| {
        let mut judged = row("", "ns p50", aim, |one| one.p50.clone());
        for (samples, one) in judged.contestants.iter_mut().zip(here()) {
            samples.also = vec![("p99 ns", one.p99.clone())];
        }
        judged
    };
    match rules {
        // Where a loop could be quicker: it grows with the rules.
        "10" => vec![
            p50(Aim::AtMostAbsolute(200.0)),
            row(", and a loop", "ns p50", Aim::AtMost { ratio: 1.0, to: LOOP }, |one| {
                one.p50.clone()
            }),
        ],
        "1000" => vec![p50(Aim::AtMostAbsolute(400.0))],
        "100000" => {
            let mut grown = row(", and ten", "ns p50", Aim::AtMost { ratio: 3.0, to: TEN }, |one| {
                one.p50.clone()
            });
            grown.contestants.retain(|one| one.name == OURS);
            let ten = figures
                .iter()
                .find(|one| (one.kind, one.rules, one.engine) == (kind, "10", OURS));
            let ten = ten.map_or(Vec::new(), |ten| ten.p50.clone());
            grown.contestants.push(Samples::new(TEN, Role::Limit, ten));
            vec![
                p50(Aim::AtMostAbsolute(800.0)),
                grown,
                row(", built", "ms", Aim::AtMostAbsolute(300.0), |one| vec![one.build_ms]),
                row(", memory", "MiB", Aim::AtMostAbsolute(64.0), |one| vec![one.mib]),
            ]
        }
        _ => vec![p50(Aim::Shown)],
    }
}

fn read(line: &str) -> Option<Figures<'_>> {
    let mut fields = line.strip_prefix('@')?.split(';');
    let (kind, rules, engine) = (fields.next()?, fields.next()?, fields.next()?);
    let mut list = || {
        fields
            .next()?
            .split(' ')
            .map(|number| number.parse().ok())
            .collect::<Option<Vec<f64>>>()
    };
    let (p50, p99, build, memory) = (list()?, list()?, list()?, list()?);
    let (&[build_ms], &[mib]) = (build.as_slice(), memory.as_slice()) else {
        return None;
    };
    Some(Figures {
        kind,
        rules,
        engine,
        p50,
        p99,
        build_ms,
        mib,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows_with_their_aims() {
        let text = "@mix;10;httpjail;80 90;120 130;0.1;0.01\n@mix;10;loop of Regex;170 180;200 210;0.2;0.02\n\
                    @mix;100000;httpjail;300 270;900 950;204.6;44.6\n@mix;100000;adblock;soon;1;1;1\n";
        let figures: Vec<Figures<'_>> = text.lines().filter_map(read).collect();
        let met = |rules| rows("mix", rules, &figures).iter().map(Row::met).collect::<Vec<_>>();
        assert_eq!(met("10"), [Some(true), Some(true)]);
        // 300 / 80 and 270 / 90: 3.4 times as slow.
        assert_eq!(met("100000"), [Some(true), Some(false), Some(true), Some(true)]);
        let row = &rows("mix", "10", &figures)[0];
        assert_eq!(row.contestants[1].rounds, [170.0, 180.0]);
        assert_eq!(row.contestants[0].also, [("p99 ns", vec![120.0, 130.0])]);
    }
}
