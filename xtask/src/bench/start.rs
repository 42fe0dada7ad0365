//! G1: what a start costs, `httpjail -r 'allow: .*' -- true`, beside other sandboxes and a bare fork and exec.
//!
//! Every contestant starts many times a round, in turns, on a host where nothing else runs. What is compared is what it
//! adds to `true` alone.

use anyhow::Result;

use super::host::{Crowd, Host};
use super::line::{self, Line, Taken};
use super::pool::Pool;
use super::report::{Aim, Role, Row, Samples};
use super::run::Run;
use super::turns::{self, Contestant};

/// Of each contestant in a round.
const STARTS: usize = 21;
const TRUE: &str = "true";
const VERSION: &str = "--version";
const OTHERS: [&str; 4] = ["unshare -n", "runc", "crun", "firejail"];
const BWRAP: &str = "bwrap";
const BWRAP_OF_NOBODY: &str = "bwrap, not root";
const EBPF_COLD: &str = "ebpf, no authority yet";
const NETNS_COLD: &str = "netns, no authority yet";
const NETNS_OF_NOBODY: &str = "netns, not root";

/// Jails that wait in a pool, each with its pool's name and backend.
const POOLED: [(&str, &str, &str); 2] = [
    ("ebpf, of a pool", "bench-ebpf", "ebpf"),
    ("netns, of a pool", "bench-netns", "netns"),
];

/// Of ours, what is compared with which peer of the same rights.
const ADDED: [(&str, &str, Aim); 6] = [
    (POOLED[0].0, BWRAP, Aim::AtMost { ratio: 1.5, to: BWRAP }),
    (POOLED[1].0, BWRAP, Aim::AtMost { ratio: 1.5, to: BWRAP }),
    ("ebpf", BWRAP, Aim::AtMost { ratio: 2.0, to: BWRAP }),
    ("netns", BWRAP, Aim::AtMost { ratio: 1.5, to: BWRAP }),
    (
        NETNS_OF_NOBODY,
        BWRAP_OF_NOBODY,
        Aim::AtMost {
            ratio: 1.5,
            to: BWRAP_OF_NOBODY,
        },
    ),
    ("weak", BWRAP, Aim::Shown),
];

/// Measures them all.
pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    line::install(run)?;
    let scratch = run.scratch();
    let host = Host::with(Crowd::default(), scratch)?;
    let mut all = Vec::new();
    let mut notes =
        vec!["CPU: of all processes of a start, without the threads of the kernel that clean up after it".to_owned()];
    notes.push(
        "of a pool: what the pool and its jails take is not in the CPU, and the next jail is made meanwhile".to_owned(),
    );
    let mut pools = Vec::new();
    for (_, name, backend) in POOLED {
        pools.push(Pool::start(name, backend, &host, run)?);
    }
    let pooled = POOLED.map(|(name, pool, _)| Line::from_pool(name, pool, run));
    for line in lines(run).into_iter().chain(pooled) {
        let role = line.role;
        match Contestant::new(line, &host, scratch) {
            Ok(one) => all.push(one),
            Err(error) if role == Role::Peer => notes.push(format!("missing: {error:#}")),
            Err(error) => return Err(error),
        }
    }
    turns::take(&mut all, run.rounds, if run.quick { 3 } else { STARTS }, scratch)?;
    Ok(rows(&all, notes))
}

fn lines(run: &Run) -> Vec<Line> {
    let jail = |name, options: &[&str]| Line::jail(name, options, run);
    vec![
        Line::new(TRUE, Role::Limit, [""; 0], run),
        Line::httpjail(VERSION, &["--version"], run),
        jail("ebpf", &["--backend", "ebpf"]),
        jail(EBPF_COLD, &["--backend", "ebpf"]).cold(),
        jail("netns", &["--backend", "netns"]),
        jail(NETNS_COLD, &["--backend", "netns"]).cold(),
        jail(NETNS_OF_NOBODY, &["--backend", "netns"]).by_nobody(),
        jail("weak", &["--weak"]),
        Line::bwrap(BWRAP, run),
        Line::bwrap(BWRAP_OF_NOBODY, run).by_nobody(),
        Line::new("unshare -n", Role::Peer, ["unshare", "-n"], run),
        Line::oci("runc", run),
        Line::oci("crun", run),
        Line::firejail(run),
    ]
}

fn rows(all: &[Contestant<'_>], notes: Vec<String>) -> Vec<Row> {
    let find = |name: &str| all.iter().find(|one| one.name == name);
    let base = find(TRUE);
    let row = |work: String, unit, names: &[&str], figure: fn(&Taken) -> f64, base, aim| Row {
        goal: "G1",
        work,
        unit,
        contestants: names
            .iter()
            .map(|name| match find(name) {
                Some(one) => one.samples(figure, base),
                None => Samples::missing(*name, Role::Peer),
            })
            .collect(),
        aim,
        notes: Vec::new(),
    };
    let mut rows = Vec::new();
    for (ours, peer, aim) in ADDED {
        let names: Vec<&str> = [ours, peer].into_iter().chain(OTHERS).collect();
        rows.push(row(
            format!("start, {ours}"),
            "ms added",
            &names,
            Taken::wall,
            base,
            aim,
        ));
        rows.push(row(
            format!("start, {ours}, CPU"),
            "ms CPU added",
            &names,
            Taken::cpu,
            base,
            Aim::Shown,
        ));
    }
    for ours in [EBPF_COLD, NETNS_COLD] {
        let names = [ours, BWRAP, TRUE];
        rows.push(row(
            format!("start, {ours}"),
            "ms",
            &names,
            Taken::wall,
            None,
            Aim::AtMostAbsolute(25.0),
        ));
    }
    rows.push(row(
        "the program alone".into(),
        "ms",
        &[VERSION, TRUE],
        Taken::wall,
        None,
        Aim::Shown,
    ));
    if let Some(first) = rows.first_mut() {
        first.notes = notes;
    }
    rows
}
