//! Autobahn's WebSocket cases, driven by kosoku: the same verdict on each through the jail as without it.
//!
//! In both roles: kosoku as the client that breaks the rules, and as the server that does. The other side is python's
//! `websockets`, with permessage-deflate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use httpjail_lab::eventually;

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;

const LIMIT: Duration = Duration::from_secs(1800);
const PATIENCE: Duration = Duration::from_secs(60);
const TRIES: usize = 5;
const RULE: &str = r"allow-get: ^https?://ws\.test:\d+/";

type Verdicts = BTreeMap<String, String>;

/// One leg: with TLS or not, and on which side kosoku is.
#[derive(Clone, Copy)]
struct Leg<'tools> {
    tools: &'tools Tools,
    tls: bool,
    fuzzer: &'static str,
}

/// Compares the verdicts.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut table = Table::new(
        "WebSocket: kosoku (Autobahn's cases) against python websockets",
        [
            "leg",
            "fuzzer",
            "cases",
            "passed without",
            "passed in the jail",
            "same verdict",
        ],
    );
    for tls in [false, true] {
        for fuzzer in ["client", "server"] {
            compare(Leg { tools, tls, fuzzer }, &mut table)?;
            eprint!("{table}");
        }
    }
    Ok(table)
}

fn compare(leg: Leg<'_>, table: &mut Table) -> Result<()> {
    let (mut without, mut within) = (leg.verdicts(false, &[])?, leg.verdicts(true, &[])?);
    let mut differing = differences(&without, &within);
    // Some cases are about what is done in ten seconds, some are decided by how messages fall into segments: on a busy
    // machine they deserve other tries, alone.
    for _ in 0..TRIES {
        if leg.fuzzer != "client" || differing.is_empty() {
            break;
        }
        without.extend(leg.verdicts(false, &differing)?);
        within.extend(leg.verdicts(true, &differing)?);
        table.note(format!("tried again, alone: {}", differing.join(" ")));
        differing = differences(&without, &within);
    }
    let passed = |verdicts: &Verdicts| {
        verdicts
            .values()
            .filter(|verdict| verdict.starts_with("passed"))
            .count()
    };
    let same = without
        .iter()
        .filter(|(case, verdict)| within.get(*case) == Some(verdict))
        .count();
    // As a server kosoku breaks a rule right behind a good message: whether that was echoed before the end ("OK") or not
    // ("NON-STRICT") is decided by how the two fell into segments. Both are passes.
    let passes =
        |verdicts: &Verdicts, case: &str| verdicts.get(case).is_some_and(|verdict| verdict.starts_with("passed"));
    let segments = |case: &String| leg.fuzzer == "server" && passes(&without, case) && passes(&within, case);
    table.row(
        differing.iter().all(segments) && !without.is_empty(),
        [
            if leg.tls { "wss" } else { "ws" }.to_owned(),
            leg.fuzzer.to_owned(),
            without.len().to_string(),
            passed(&without).to_string(),
            passed(&within).to_string(),
            same.to_string(),
        ],
    );
    for case in differing {
        let (without, within) = (without.get(&case), within.get(&case));
        table.note(format!("{case}: {without:?} without, {within:?} in the jail"));
    }
    Ok(())
}

fn differences(these: &Verdicts, those: &Verdicts) -> Vec<String> {
    let cases: BTreeSet<&String> = these.keys().chain(those.keys()).collect();
    let differs = |case: &&String| these.get(*case) != those.get(*case);
    cases.into_iter().filter(differs).cloned().collect()
}

impl Leg<'_> {
    /// The verdicts on `cases`, or on all.
    fn verdicts(self, jailed: bool, cases: &[String]) -> Result<Verdicts> {
        let Leg { tools, tls, fuzzer } = self;
        let mut rig = Rig::raise(tools)?;
        let (chain, key) = rig.lab.certificate("ws.test")?;
        let port = if tls { 9443 } else { 9001 };
        let url = format!("{}://ws.test:{port}/", if tls { "wss" } else { "ws" });
        let served = rig.lab.fresh_path("verdicts.json");
        let (server, client) = match fuzzer {
            "client" => ("serve-echo", "fuzz"),
            _ => ("serve-fuzzer", "echo"),
        };
        let mut command = rig.script("websocket.py");
        command.args([server, &port.to_string()]).arg(&served);
        if tls {
            command.args([&chain, &key]);
        }
        let said = rig.serve(&mut command, port)?;
        let mut words = rig.words("websocket.py", &[client, &url]);
        words.extend(cases.iter().cloned());
        let run = if jailed {
            rig.lab.jail().rule(RULE)
        } else {
            rig.unjailed()
        };
        let outcome = run.limit(LIMIT).command(words).run();
        let text = match fuzzer {
            "client" => outcome.stdout.clone(),
            // Written a moment after the client has done its part.
            _ => {
                eventually(PATIENCE, || served.is_file());
                std::fs::read_to_string(&served).unwrap_or_default()
            }
        };
        serde_json::from_str(&text).with_context(|| {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            format!("verdicts of {url}, fuzzing {fuzzer}, jailed {jailed}: {outcome:?}; the server said: {said}")
        })
    }
}
