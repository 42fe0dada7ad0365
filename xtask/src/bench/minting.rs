//! G7: what a leaf costs, for a new name and for one that is cached, against one P-256 signature.

use anyhow::{Result, ensure};

use super::package;
use super::report::{Aim, Role, Row, Samples};
use super::run::Run;

const SIGNATURE: &str = "P-256 signature";

/// Judges what the bench of minting measures.
pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    let rounds = run.rounds.to_string();
    let text = package::bench("minting", &[&rounds], run)?;
    let rows = [
        row(
            "a leaf for a new name",
            "new",
            1e3,
            "us",
            Aim::AtMost {
                ratio: 1.5,
                to: SIGNATURE,
            },
            &text,
        ),
        row(
            "a leaf that is cached",
            "hit",
            1.0,
            "ns",
            Aim::AtMostAbsolute(150.0),
            &text,
        ),
    ];
    ensure!(
        rows.iter().all(|row| !row.contestants[0].rounds.is_empty()),
        "the bench measured nothing"
    );
    Ok(rows.into())
}

fn row(work: &str, kind: &str, ns: f64, unit: &'static str, aim: Aim, text: &str) -> Row {
    let figures = || text.lines().filter_map(read);
    let samples = |engine: &str, kind: &str, role| {
        let of = figures().filter(|one| (one.0, one.1) == (kind, engine));
        Samples::new(engine, role, of.map(|one| one.2 / ns).collect())
    };
    let mut contestants = vec![samples("httpjail", kind, Role::Ours)];
    if matches!(aim, Aim::AtMost { .. }) {
        contestants.push(samples(SIGNATURE, "signature", Role::Limit));
    }
    Row {
        goal: "G7",
        work: work.into(),
        unit,
        contestants,
        aim,
        notes: Vec::new(),
    }
}

/// Kind, engine and nanoseconds of a line that begins with `@`.
fn read(line: &str) -> Option<(&str, &str, f64)> {
    let mut fields = line.strip_prefix('@')?.split(';');
    Some((fields.next()?, fields.next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rounds() {
        let text =
            "noise\n@signature;P-256 signature;20000\n@new;httpjail;30000\n@new;httpjail;50000\n@hit;httpjail;90\n";
        let row = row(
            "new",
            "new",
            1e3,
            "us",
            Aim::AtMost {
                ratio: 1.5,
                to: SIGNATURE,
            },
            text,
        );
        let rounds: Vec<&[f64]> = row.contestants.iter().map(|one| one.rounds.as_slice()).collect();
        assert_eq!(rounds, [&[30.0, 50.0][..], &[20.0]]);
        assert_eq!(read("@new;httpjail;soon"), None);
    }
}
