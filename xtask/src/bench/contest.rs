//! Contestants that take turns with one order, and the rows that this makes.

use anyhow::{Context as _, Result};

use super::load::{Figures, Load, Order};
use super::parties::{Party, Programs};
use super::report::{Aim, Role, Row, Samples};
use super::rig::Rig;
use super::run::Run;
use super::stats::{median, short};

/// How much less a slow contestant is asked for.
const SLOW: usize = 15;
/// And each in a quick run.
const QUICK: usize = 10;

/// What all of them did.
pub(super) struct Outcome {
    goal: &'static str,
    work: String,
    parties: Vec<(&'static str, Role, Vec<Figures>)>,
    notes: Vec<String>,
}

/// What all contests of a goal share.
pub(super) struct Stage<'run> {
    run: &'run Run,
    pub(super) programs: Programs,
    // Ends before its namespace.
    load: Load,
    pub(super) rig: Rig,
}

impl<'run> Stage<'run> {
    /// Makes the namespaces, and starts the origin and the load in them.
    pub(super) fn raise(run: &'run Run) -> Result<Stage<'run>> {
        let rig = Rig::raise(run)?;
        let programs = Programs::get(run)?;
        Ok(Stage {
            run,
            load: Load::start(run, &rig, &programs.load)?,
            programs,
            rig,
        })
    }

    /// Gives each its turn in each round: A B C, then C B A.
    pub(super) fn contest<'party>(
        &mut self,
        goal: &'static str,
        work: &str,
        parties: impl IntoIterator<Item = &'party Party>,
        order: &Order,
    ) -> Result<Outcome> {
        let parties: Vec<&Party> = parties.into_iter().collect();
        let (run, rig, load) = (self.run, &self.rig, &mut self.load);
        let mut outcome = Outcome {
            goal,
            work: work.to_owned(),
            parties: parties
                .iter()
                .map(|party| (party.name, party.role, Vec::new()))
                .collect(),
            notes: Vec::new(),
        };
        let mut out = vec![false; parties.len()];
        for (party, out) in parties.iter().zip(&mut out) {
            if party.address(order).is_none() {
                let why = party.missing.as_deref().unwrap_or("it does not speak this");
                outcome.notes.push(format!("without {}: {why}", party.name));
                *out = true;
            }
        }
        for round in 0..run.rounds {
            run.say(format!("{goal} {work}, round {} of {}", round + 1, run.rounds));
            let turn: Vec<usize> = match round % 2 {
                0 => (0..parties.len()).collect(),
                _ => (0..parties.len()).rev().collect(),
            };
            for at in turn {
                let party = parties[at];
                let Some(address) = party.address(order).filter(|_| !out[at]) else {
                    continue;
                };
                let fraction = [(party.slow, SLOW), (run.quick, QUICK)];
                let fraction: usize = fraction.iter().filter(|(is, _)| *is).map(|(_, by)| by).product();
                let order = Order {
                    requests: (order.requests / fraction).max(order.connections),
                    ..order.clone()
                };
                match load.put(rig, &order, address, party.ask, party.pid()) {
                    Ok(figures) => outcome.parties[at].2.push(figures),
                    Err(error) if party.role == Role::Peer => {
                        // One round less would be compared with the wrong rounds of the others.
                        outcome.notes.push(format!("without {}: {error:#}", party.name));
                        outcome.parties[at].2.clear();
                        out[at] = true;
                    }
                    Err(error) => return Err(error).with_context(|| format!("{work}, {}", party.name)),
                }
            }
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// Processor time a request, of all that have a process; with the other figures beside it.
    pub(super) fn processor_time(&self, aim: Aim) -> Row {
        let opened: Vec<String> = self
            .parties
            .iter()
            .filter(|(_, _, rounds)| !rounds.is_empty())
            .map(|(name, _, rounds)| format!("{name} {}", short(median(&of(rounds, |one| one.opened)))))
            .collect();
        let mut row = self.row("us CPU/request", aim, |one| one.cpu_us, |name| name != "direct");
        let opened = opened.join(", ");
        row.notes
            .push(format!("new upstream connections per thousand requests: {opened}"));
        row
    }

    /// Requests a second, of ours and of the one that they are compared with.
    pub(super) fn rate(&self, ratio: f64, to: &'static str) -> Row {
        let aim = Aim::AtLeast { ratio, to };
        let takes_part = |name: &str| name == "httpjail" || name == to;
        let mut row = self.row("requests/s", aim, |one| one.rate, takes_part);
        // What else there is to say of those with a process is said in the row of processor time.
        row.notes.clear();
        for one in row.contestants.iter_mut().filter(|one| one.name != "direct") {
            one.also.clear();
        }
        row
    }

    /// What each proxy adds to a figure of the way without one, round by round.
    pub(super) fn added(&self, unit: &'static str, aim: Aim, figure: fn(&Figures) -> f64) -> Row {
        let mut row = self.row(unit, aim, figure, |_| true);
        let direct = row.contestants.iter().find(|one| one.name == "direct");
        let direct = direct.map(|one| one.rounds.clone()).unwrap_or_default();
        row.contestants.retain(|one| one.name != "direct");
        for one in &mut row.contestants {
            one.rounds = one
                .rounds
                .iter()
                .zip(&direct)
                .map(|(with, without)| with - without)
                .collect();
        }
        row.notes
            .push(format!("without a proxy: {} us", short(median(&direct))));
        row
    }

    /// A row of one figure, of those that `takes_part` names.
    pub(super) fn row(
        &self,
        unit: &'static str,
        aim: Aim,
        figure: fn(&Figures) -> f64,
        takes_part: impl Fn(&str) -> bool,
    ) -> Row {
        let samples = |(name, role, rounds): &(&'static str, Role, Vec<Figures>)| Samples {
            also: vec![
                ("requests/s", of(rounds, |one| one.rate)),
                ("p50 us", of(rounds, |one| one.p50_us)),
                ("p99 us", of(rounds, |one| one.p99_us)),
                ("opened/1000", of(rounds, |one| one.opened)),
            ],
            ..Samples::new(*name, *role, of(rounds, figure))
        };
        let parties = self.parties.iter().filter(|(name, ..)| takes_part(name));
        Row {
            goal: self.goal,
            work: self.work.clone(),
            unit,
            contestants: parties.map(samples).collect(),
            aim,
            notes: self.notes.clone(),
        }
    }
}

fn of(rounds: &[Figures], figure: fn(&Figures) -> f64) -> Vec<f64> {
    rounds.iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(p50: &[f64]) -> Vec<Figures> {
        let one = |p50_us: &f64| Figures {
            cpu_us: 20.0,
            rate: 1_000.0,
            p50_us: *p50_us,
            p99_us: 0.0,
            opened: 0.5,
            memory_mib: 0.0,
        };
        p50.iter().map(one).collect()
    }

    fn outcome() -> Outcome {
        Outcome {
            goal: "G5",
            work: "work".into(),
            parties: vec![
                ("direct", Role::Limit, rounds(&[100.0, 300.0])),
                ("httpjail", Role::Ours, rounds(&[150.0, 400.0])),
                ("haproxy", Role::Peer, rounds(&[120.0, 310.0])),
                ("squid", Role::Peer, Vec::new()),
            ],
            notes: vec!["without squid: not installed".into()],
        }
    }

    #[test]
    fn what_is_added_is_taken_from_the_same_round() {
        let row = outcome().added("us added p50", Aim::Shown, |one| one.p50_us);
        let added: Vec<(&str, &[f64])> = row.contestants.iter().map(|one| (&*one.name, &*one.rounds)).collect();
        assert_eq!(
            added,
            [
                ("httpjail", [50.0, 100.0].as_slice()),
                ("haproxy", &[20.0, 10.0]),
                ("squid", &[])
            ]
        );
    }

    #[test]
    fn a_row_of_processor_time_says_who_opened_connections_and_who_is_missing() {
        let row = outcome().processor_time(Aim::Shown);
        assert!(row.contestants.iter().all(|one| one.name != "direct"));
        assert_eq!(
            row.notes,
            [
                "without squid: not installed",
                "new upstream connections per thousand requests: direct 0.50, httpjail 0.50, haproxy 0.50"
            ]
        );
    }

    #[test]
    fn a_row_of_rates_has_ours_and_the_one_it_is_compared_with() {
        let row = outcome().rate(2.0, "haproxy");
        let names: Vec<&str> = row.contestants.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["httpjail", "haproxy"]);
    }
}
