//! Simulates many machines that look at one policy (`httpjail policy fetch`): what the server has to bear, and how late a policy comes.
//!
//! Nothing here runs httpjail: the only thing that is modelled is when each machine looks. The draws come from a fixed seed, so that the
//! figures of docs/fleet.md can be made again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::Result;

/// How many machines there are.
const MACHINES: usize = 10_000;
/// How often each looks, on average, in milliseconds (`--every 5m`).
const EVERY: u64 = 300_000;
/// When the simulation ends.
const END: u64 = 10 * HOUR;
const HOUR: u64 = 3_600_000;
/// When the server is away.
const OUTAGE: std::ops::Range<u64> = 3 * HOUR..5 * HOUR;
/// How long a look that fails takes (`--timeout`).
const TIMEOUT: u64 = 60_000;

/// How a machine waits.
#[derive(Clone, Copy)]
enum Waits {
    /// As httpjail does: between half and one and a half of the period.
    AtRandom,
    /// Always the period.
    Exactly,
}

/// What the machines have when all of them start in the same second.
#[derive(Clone, Copy)]
enum Start {
    /// A policy that counts: the first look is at a random time of the period.
    Held,
    /// None: the first look is at once.
    Empty,
}

/// Prints the figures.
pub(crate) fn run() -> Result<()> {
    println!(
        "{MACHINES} machines, --every {} s, an outage of {} h",
        EVERY / 1000,
        (OUTAGE.end - OUTAGE.start) / HOUR
    );
    println!(
        "{:<34}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "looks a second", "mean", "p99", "max", "first", "back"
    );
    for (name, waits, start) in [
        ("at random, with a policy", Waits::AtRandom, Start::Held),
        ("at random, without", Waits::AtRandom, Start::Empty),
        ("exactly, with a policy", Waits::Exactly, Start::Held),
        ("exactly, without", Waits::Exactly, Start::Empty),
    ] {
        let looks = simulate(waits, start);
        let seconds = by_second(&looks);
        let quiet = HOUR / 1000..OUTAGE.start / 1000;
        let mut steady = seconds[quiet.start as usize..quiet.end as usize].to_vec();
        let most = |from: u64, to: u64| {
            seconds[(from / 1000) as usize..(to / 1000) as usize]
                .iter()
                .max()
                .copied()
        };
        let mean = steady.iter().sum::<u64>() as f64 / steady.len() as f64;
        println!(
            "{name:<34}{mean:>8.1}{:>8}{:>8}{:>8}{:>8}",
            percentile(&mut steady, 99),
            percentile(&mut steady, 100),
            most(0, EVERY).unwrap_or(0),
            most(OUTAGE.end, OUTAGE.end + 2 * EVERY).unwrap_or(0),
        );
    }
    let looks = simulate(Waits::AtRandom, Start::Held);
    println!(
        "{:<34}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "seconds until a policy is there", "mean", "p50", "p90", "p99", "max"
    );
    for (name, published) in [
        ("published at two hours", 2 * HOUR),
        ("published in the outage's middle", 4 * HOUR),
    ] {
        let mut late: Vec<u64> = looks.iter().map(|times| lateness(times, published)).collect();
        let mean = late.iter().sum::<u64>() as f64 / late.len() as f64 / 1000.0;
        let at = |late: &mut Vec<u64>, share| percentile(late, share) / 1000;
        println!(
            "{name:<34}{mean:>8.0}{:>8}{:>8}{:>8}{:>8}",
            at(&mut late, 50),
            at(&mut late, 90),
            at(&mut late, 99),
            at(&mut late, 100)
        );
    }
    Ok(())
}

/// Returns for each machine when it looked.
fn simulate(waits: Waits, start: Start) -> Vec<Vec<u64>> {
    let mut draws = Draws(0x6874_7470_6a61_696c);
    let mut looks = vec![Vec::new(); MACHINES];
    let mut next: BinaryHeap<Reverse<(u64, usize)>> = (0..MACHINES)
        .map(|machine| {
            // A thousand milliseconds: machines do not start in the same one.
            let first = match start {
                Start::Held => draws.below(EVERY),
                Start::Empty => draws.below(1000),
            };
            Reverse((first, machine))
        })
        .collect();
    while let Some(Reverse((time, machine))) = next.pop() {
        if time >= END {
            continue;
        }
        looks[machine].push(time);
        let took = if OUTAGE.contains(&time) { TIMEOUT } else { 0 };
        let wait = match waits {
            Waits::AtRandom => EVERY / 2 + draws.below(EVERY),
            Waits::Exactly => EVERY,
        };
        next.push(Reverse((time + took + wait, machine)));
    }
    looks
}

fn by_second(looks: &[Vec<u64>]) -> Vec<u64> {
    let mut seconds = vec![0; (END / 1000) as usize];
    for time in looks.iter().flatten() {
        seconds[(time / 1000) as usize] += 1;
    }
    seconds
}

/// How long after `published` a machine that looked at these times has what was published.
fn lateness(times: &[u64], published: u64) -> u64 {
    let served = times.iter().find(|time| **time >= published && !OUTAGE.contains(*time));
    served.map_or(END, |time| time - published)
}

fn percentile(values: &mut [u64], share: usize) -> u64 {
    values.sort_unstable();
    let at = (values.len() * share / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0)
}

/// Numbers that look like chance, the same each time (SplitMix64, public domain).
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
