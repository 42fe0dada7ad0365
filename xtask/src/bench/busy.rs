//! G13: a start on a busy host, beside the same start on an empty one.
//!
//! Each crowd runs on a host of its own (`host`), whose PID namespace holds nothing else. The empty host's starts are taken
//! in turns with it, and so have the same kernel with the same number of namespaces around them; its starts before there
//! was any crowd are shown too. Namespaces stand in for containers: no engine is needed, and what a start looks at is the
//! same.

use anyhow::Result;

use super::host::{Crowd, Host};
use super::line::{self, Line, Taken};
use super::report::{Aim, Role, Row};
use super::run::Run;
use super::swarm::Swarm;
use super::turns::{self, Contestant};

/// Of each contestant in a round.
const STARTS: usize = 5;
/// How many of the three lines are ours.
const BACKENDS: usize = 2;
const HERE: [&str; 3] = ["ebpf", "netns", "bwrap"];
const THERE: [&str; 3] = ["ebpf, empty host", "netns, empty host", "bwrap, empty host"];
const BEFORE: [&str; 3] = ["ebpf, before", "netns, before", "bwrap, before"];

/// What runs beside, and how many jails of each backend.
struct Busy {
    name: &'static str,
    crowd: Crowd,
    jails: usize,
}

const fn busy(name: &'static str, processes: usize, containers: usize, sockets: usize, jails: usize) -> Busy {
    let crowd = Crowd {
        processes,
        containers,
        sockets,
    };
    Busy { name, crowd, jails }
}

const BUSY: [Busy; 6] = [
    busy("10 containers", 0, 10, 0, 0),
    busy("30 containers", 0, 30, 0, 0),
    busy("500 relative sockets", 0, 0, 500, 0),
    busy("5,000 processes", 5_000, 0, 0, 0),
    busy("200 jails", 0, 0, 0, 100),
    busy(
        "5,000 processes, 200 jails, 100 containers, 500 relative sockets",
        5_000,
        100,
        500,
        100,
    ),
];

pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    line::install(run)?;
    let scratch = run.scratch();
    let starts = if run.quick { 1 } else { STARTS };
    let empty = Host::with(Crowd::default(), scratch)?;
    let mut before = contestants(&empty, Role::Limit, &BEFORE, run)?;
    turns::take(&mut before, run.rounds, starts, scratch)?;
    let mut rows = Vec::new();
    for busy in &BUSY {
        run.say(format!("G13: beside {}", busy.name));
        let host = Host::with(busy.crowd, scratch)?;
        let mut jails = Vec::new();
        if busy.jails > 0 {
            for line in &lines(run)[..BACKENDS] {
                jails.push(Swarm::start(line, busy.jails, &host, run)?.0);
            }
        }
        let mut all = contestants(&host, Role::Ours, &HERE, run)?;
        all.extend(contestants(&empty, Role::Limit, &THERE, run)?);
        turns::take(&mut all, run.rounds, starts, scratch)?;
        rows.extend((0..BACKENDS).map(|at| row(busy, at, &all, &before)));
        // Backwards, since each knows what was there before it.
        jails.into_iter().rev().try_for_each(|swarm| swarm.end().map(drop))?;
    }
    if let Some(first) = rows.first_mut() {
        first
            .notes
            .push("a container is five new namespaces and three processes, without an engine".into());
    }
    Ok(rows)
}

fn lines(run: &Run) -> [Line; 3] {
    [
        Line::jail("ebpf", &["--backend", "ebpf"], run),
        Line::jail("netns", &["--backend", "netns"], run),
        Line::bwrap("bwrap", run),
    ]
}

/// One for each line, under these names.
fn contestants<'host>(host: &'host Host, role: Role, names: &[&str; 3], run: &Run) -> Result<Vec<Contestant<'host>>> {
    let named = |(line, name): (Line, &&str)| Ok(Contestant::new(line, host, run.scratch())?.named(name, role));
    lines(run).into_iter().zip(names).map(named).collect()
}

fn row(busy: &Busy, at: usize, all: &[Contestant<'_>], before: &[Contestant<'_>]) -> Row {
    let [ours, there, earlier] =
        [&all[at], &all[HERE.len() + at], &before[at]].map(|one| one.samples(Taken::wall, None));
    let mut peers = [&all[BACKENDS], &all[HERE.len() + BACKENDS]].map(|one| one.samples(Taken::wall, None));
    peers.iter_mut().for_each(|peer| peer.role = Role::Peer);
    Row {
        goal: "G13",
        work: format!("{}, beside {}", HERE[at], busy.name),
        unit: "ms",
        contestants: [ours, there, earlier].into_iter().chain(peers).collect(),
        aim: Aim::AtMost {
            ratio: 1.3,
            to: THERE[at],
        },
        notes: Vec::new(),
    }
}
