//! Contestants that start in turns, and what their starts took.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::host::Host;
use super::line::{Line, Taken};
use super::report::{Role, Samples};
use super::stats::median;

const COMMAND: [&str; 1] = ["true"];

/// A command line on a host, with what its starts took, by rounds.
pub(super) struct Contestant<'host> {
    pub(super) name: String,
    role: Role,
    line: Line,
    host: &'host Host,
    rounds: Vec<Vec<Taken>>,
}

impl<'host> Contestant<'host> {
    /// Starts it once without counting, so that an authority is made and its files are in memory. Errors where it does not
    /// start, or does not isolate what shall be isolated.
    pub(super) fn new(line: Line, host: &'host Host, scratch: &Path) -> Result<Contestant<'host>> {
        line.check(host, scratch)?;
        Ok(Contestant {
            name: line.name.to_owned(),
            role: line.role,
            line,
            host,
            rounds: Vec::new(),
        })
    }

    /// The same under another name and in another role.
    pub(super) fn named(mut self, name: &str, role: Role) -> Contestant<'host> {
        (self.name, self.role) = (name.to_owned(), role);
        self
    }

    /// Returns the medians of its rounds.
    fn rounds(&self, figure: fn(&Taken) -> f64) -> Vec<f64> {
        let middle = |round: &Vec<Taken>| median(&round.iter().map(figure).collect::<Vec<_>>());
        self.rounds.iter().map(middle).collect()
    }

    /// Returns its rounds less those of `base`, with what they took in all beside them.
    pub(super) fn samples(&self, figure: fn(&Taken) -> f64, base: Option<&Contestant<'_>>) -> Samples {
        let (all, cpu) = (self.rounds(figure), ("CPU ms", self.rounds(Taken::cpu)));
        let Some(base) = base else {
            let mut samples = Samples::new(self.name.clone(), self.role, all);
            samples.also = vec![cpu];
            return samples;
        };
        let base = base.rounds(figure);
        let added = all.iter().zip(base).map(|(one, base)| one - base);
        let mut samples = Samples::new(self.name.clone(), self.role, added.collect());
        samples.also = vec![("wall ms", self.rounds(Taken::wall)), cpu];
        samples
    }
}

/// Lets each start `true` so often in each round, one after the other, and back again.
pub(super) fn take(all: &mut [Contestant<'_>], rounds: usize, starts: usize, scratch: &Path) -> Result<()> {
    for round in 0..rounds {
        all.iter_mut().for_each(|one| one.rounds.push(Vec::new()));
        for turn in 0..starts {
            let mut order: Vec<&mut Contestant<'_>> = all.iter_mut().collect();
            if (round + turn) % 2 == 1 {
                order.reverse();
            }
            for one in order {
                let taken = one.line.time(one.host, &COMMAND, scratch)?;
                one.rounds.last_mut().context("a round")?.push(taken);
            }
        }
    }
    Ok(())
}
