//! HTTP/2 that breaks the rules, against the jail's proxy: each case ends in the right error, an honest client is served
//! after each, and the origin sees nothing that it must not. (h2.py says what "right", "ended" and "tolerated" are.)

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use httpjail_lab::{Outcome, processes_with};
use serde_json::Value;

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;

const LIMIT: Duration = Duration::from_secs(900);
const WITNESS: &str = "/witness";
/// What may reach the origin: these first words of a path, and nothing else.
const HARMLESS: [&str; 11] = [
    "unknown-frame",
    "unknown-setting",
    "slow",
    "host-alone",
    "body",
    "reset",
    "after-flood",
    "empty-data",
    "bytes",
    "witness",
    "bomb",
];

/// Runs all cases with and without a jail.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut table = Table::new(
        "h2: frames, header blocks and floods that are wrong (python hyperframe and hpack, nothing checked)",
        [
            "against",
            "cases",
            "right",
            "ended",
            "tolerated",
            "wrong",
            "witnesses served",
            "slowest",
            "bad at the origin",
            "peak memory",
        ],
    );
    let words = |rig: &Rig<'_>| rig.words("h2.py", &["h2.test", "443", WITNESS]);
    let rig = Rig::raise(tools)?;
    let direct = rig.unjailed().limit(LIMIT).command(words(&rig)).run();
    add(&mut table, "the origin alone (hyper)", &direct, None)?;

    let rig = Rig::raise(tools)?;
    let log = rig.lab.fresh_path("h2.json");
    let jail = rig
        .lab
        .jail()
        .log_to(&log)
        .rule("deny: /denied")
        .rule(r"allow: ^https://(h2|other)\.test/")
        .limit(LIMIT)
        .command(words(&rig));
    let done = AtomicBool::new(false);
    let (outcome, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| peak_memory(&log.display().to_string(), &done));
        let outcome = jail.run();
        done.store(true, Ordering::Relaxed);
        (outcome, watch.join().unwrap_or(0))
    });
    let seen = rig.lab.heard().requests.all();
    let bad: Vec<String> = seen
        .iter()
        .filter(|seen| {
            let first = seen.path.trim_start_matches('/').split('/').next().unwrap_or_default();
            seen.host != "h2.test" || !HARMLESS.contains(&first)
        })
        .map(|seen| format!("{} {}{}", seen.method, seen.host, seen.path))
        .collect();
    add(&mut table, "the jail's proxy", &outcome, Some((&bad, peak)))?;
    Ok(table)
}

fn add(table: &mut Table, against: &str, outcome: &Outcome, jail: Option<(&Vec<String>, u64)>) -> Result<()> {
    let cases: Vec<Value> =
        serde_json::from_str(&outcome.stdout).with_context(|| format!("outcomes of the cases: {outcome:?}"))?;
    let graded = |grade: &str| cases.iter().filter(|case| case["good"] == grade).count();
    let served = cases.iter().filter(|case| case["witness"] == "200").count();
    let slowest = cases
        .iter()
        .filter_map(|case| case["seconds"].as_f64())
        .fold(0.0, f64::max);
    let good = graded("wrong") == 0 && served == cases.len() && jail.is_none_or(|(bad, _)| bad.is_empty());
    table.row(
        // The origin alone is there to compare with; its faults are its own.
        good || jail.is_none(),
        [
            against.to_owned(),
            cases.len().to_string(),
            graded("exact").to_string(),
            graded("ended").to_string(),
            graded("tolerated").to_string(),
            graded("wrong").to_string(),
            served.to_string(),
            format!("{slowest:.2} s"),
            jail.map_or("-".into(), |(bad, _)| bad.len().to_string()),
            jail.map_or("-".into(), |(_, peak)| format!("{} MiB", peak / 1024)),
        ],
    );
    let amiss = |case: &&Value| case["good"] == "wrong" || case["witness"] != "200";
    for case in cases.iter().filter(amiss).filter(|_| jail.is_some()) {
        table.note(format!(
            "{against}: {}: {} instead of {}, witness {}",
            case["name"], case["got"], case["wanted"], case["witness"]
        ));
    }
    for request in jail.map(|(bad, _)| bad).into_iter().flatten().take(10) {
        table.note(format!("at the origin: {request}"));
    }
    Ok(())
}

/// The most memory, in KiB, that one process with `mark` in its command line has had: the proxy's.
fn peak_memory(mark: &str, done: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !done.load(Ordering::Relaxed) {
        for pid in processes_with(mark) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = peak.max(kib.unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    peak
}
