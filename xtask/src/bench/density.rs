//! G12: many jails at once: how soon they run, what memory each takes, how soon they are gone.

use std::fs;

use anyhow::{Context as _, Result};

use super::host::{Crowd, Host, numbers};
use super::line::{self, Line, children_ms};
use super::report::{Aim, Role, Row, Samples};
use super::run::Run;
use super::swarm::Swarm;

const BWRAP: &str = "bwrap";
const COUNTS: [usize; 3] = [1, 100, 250];
const MANY: usize = 1_000;
/// Each takes minutes.
const ROUNDS_OF_MANY: usize = 2;
/// What the kernel's part is made of; the stacks of processes are in the second.
const KERNEL: [&str; 4] = ["Slab:", "VmallocUsed:", "PageTables:", "Percpu:"];

const KERNEL_EACH: &str = "kernel MiB each, by the growth of the whole machine's";
const CPU_EACH: &str = "CPU ms each, from start to end";

type Figure = fn(&Taken) -> f64;

/// What one swarm took.
struct Taken {
    /// Seconds.
    start: f64,
    end: f64,
    /// MiB of each jail: of its processes, and by which the kernel's own memory grew.
    processes: f64,
    kernel: f64,
    /// Milliseconds of each jail, from its start to its end.
    cpu: f64,
}

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    line::install(run)?;
    let mut notes = Vec::new();
    let mut lines = vec![
        Line::jail("netns", &["--backend", "netns"], run),
        Line::jail("ebpf", &["--backend", "ebpf"], run),
        Line::bwrap(BWRAP, run),
        Line::oci("runc", run),
    ];
    let host = Host::with(Crowd::default(), run.scratch())?;
    lines.retain(|line| match line.check(&host, run.scratch()) {
        Err(error) if line.role == Role::Peer => {
            notes.push(format!("missing: {error:#}"));
            false
        }
        _ => true,
    });
    let counts: Vec<usize> = match (run.quick, run.full) {
        (true, _) => vec![1, 10],
        (false, false) => COUNTS.into(),
        (false, true) => COUNTS.into_iter().chain([MANY]).collect(),
    };
    let mut rows = Vec::new();
    for count in counts {
        run.say(format!("G12: {count} at once"));
        let mut taken: Vec<Vec<Taken>> = lines.iter().map(|_| Vec::new()).collect();
        for _ in 0..if count == MANY { ROUNDS_OF_MANY } else { run.rounds } {
            for (line, taken) in lines.iter().zip(&mut taken) {
                taken.push(measure(line, count, run)?);
            }
        }
        let all: Vec<(&Line, Vec<Taken>)> = lines.iter().zip(taken).collect();
        rows.extend(["netns", "ebpf"].iter().flat_map(|ours| of(ours, count, &all)));
    }
    if let Some(first) = rows.first_mut() {
        first.notes = notes;
    }
    Ok(rows)
}

/// On a host of its own.
fn measure(line: &Line, count: usize, run: &Run) -> Result<Taken> {
    let host = Host::with(Crowd::default(), run.scratch())?;
    // Its files come into memory.
    line.check(&host, run.scratch())?;
    let (before, kernel) = (children_ms()? + host.orphans_ms()?, kernel_kib()?);
    let (swarm, start) = Swarm::start(line, count, &host, run)?;
    let kernel = kernel_kib()? - kernel;
    let processes = host.pss_kib()?;
    let end = swarm.end()?;
    let each = count as f64;
    Ok(Taken {
        start,
        end,
        processes: processes / 1024.0 / each,
        kernel: kernel / 1024.0 / each,
        cpu: (children_ms()? + host.orphans_ms()? - before) / each,
    })
}

/// The rows of one of ours beside the others.
fn of(ours: &str, count: usize, all: &[(&Line, Vec<Taken>)]) -> [Row; 3] {
    let row = |work: &str, unit, figure: Figure, also: &[(&'static str, Figure)], aim| Row {
        goal: "G12",
        work: format!("{count} at once, {ours}: {work}"),
        unit,
        contestants: all
            .iter()
            .filter(|(line, _)| line.name == ours || line.role != Role::Ours)
            .map(|(line, taken)| {
                let rounds = |figure: Figure| taken.iter().map(figure).collect::<Vec<_>>();
                let mut samples = Samples::new(line.name, line.role, rounds(figure));
                samples.also = also.iter().map(|(name, figure)| (*name, rounds(*figure))).collect();
                samples
            })
            .collect(),
        aim,
        notes: Vec::new(),
    };
    // One alone shares its pages with nothing.
    let memory = if count > 1 {
        Aim::AtMostAbsolute(4.0)
    } else {
        Aim::Shown
    };
    let soon = Aim::AtMost { ratio: 1.5, to: BWRAP };
    [
        row(
            "memory",
            "MiB PSS each",
            |taken| taken.processes,
            &[(KERNEL_EACH, |taken| taken.kernel)],
            memory,
        ),
        row(
            "all run",
            "s",
            |taken| taken.start,
            &[(CPU_EACH, |taken| taken.cpu)],
            soon,
        ),
        row("all gone", "s", |taken| taken.end, &[], Aim::AtMostAbsolute(1.0)),
    ]
}

fn kernel_kib() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("read the machine's memory")?;
    numbers(&text, &KERNEL).context("the machine's memory")
}
