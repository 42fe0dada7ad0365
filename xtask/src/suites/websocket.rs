//! Autobahn's WebSocket cases, driven by kosoku: the same verdict on each through the jail as without it.
//!
//! In both roles: kosoku as the client that breaks the rules, and as the server that does. The other side is python's
//! `websockets`, with permessage-deflate.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use httpjail_lab::JailBuilder;

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;

const LIMIT: Duration = Duration::from_secs(900);
const RULE: &str = r"allow-get: ^https?://ws\.test:\d+/";

type Verdicts = BTreeMap<String, String>;

/// Compares the verdicts.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut table = Table::new(
        "WebSocket: kosoku (Autobahn's cases) against python websockets",
        ["leg", "fuzzer", "cases", "passed without", "passed in the jail", "same verdict"],
    );
    for tls in [false, true] {
        for fuzzer in ["client", "server"] {
            let (without, within) = (verdicts(tools, tls, fuzzer, false)?, verdicts(tools, tls, fuzzer, true)?);
            let passed = |verdicts: &Verdicts| verdicts.values().filter(|verdict| verdict.starts_with("passed")).count();
            let differing: Vec<&String> = without
                .keys()
                .chain(within.keys())
                .filter(|case| without.get(*case) != within.get(*case))
                .collect();
            let same = without.iter().filter(|(case, verdict)| within.get(*case) == Some(verdict)).count();
            table.row(
                differing.is_empty() && !without.is_empty(),
                [
                    if tls { "wss" } else { "ws" }.to_owned(),
                    fuzzer.to_owned(),
                    without.len().to_string(),
                    passed(&without).to_string(),
                    passed(&within).to_string(),
                    same.to_string(),
                ],
            );
            for case in differing {
                table.note(format!(
                    "{case}: {:?} without, {:?} in the jail",
                    without.get(case),
                    within.get(case)
                ));
            }
        }
    }
    Ok(table)
}

fn verdicts(tools: &Tools, tls: bool, fuzzer: &str, jailed: bool) -> Result<Verdicts> {
    let mut rig = Rig::raise(tools)?;
    let (chain, key) = rig.lab.certificate("ws.test")?;
    let port = if tls { 9443 } else { 9001 };
    let url = format!("{}://ws.test:{port}/", if tls { "wss" } else { "ws" });
    let served = rig.lab.fresh_path("verdicts.json");
    let server = if fuzzer == "client" { "serve-echo" } else { "serve-fuzzer" };
    let mut command = rig.script("websocket.py");
    command.args([server, &port.to_string()]);
    command.arg(&served);
    if tls {
        command.args([&chain, &key]);
    }
    let said = rig.serve(&mut command, port)?;
    let words = rig.words("websocket.py", &[if fuzzer == "client" { "fuzz" } else { "echo" }, &url]);
    let run: JailBuilder<'_> = if jailed { rig.lab.jail().rule(RULE) } else { rig.unjailed() };
    let outcome = run.limit(LIMIT).command(words).run();
    let text = if fuzzer == "client" {
        outcome.stdout.clone()
    } else {
        std::fs::read_to_string(&served).unwrap_or_default()
    };
    serde_json::from_str(&text).with_context(|| {
        let said = std::fs::read_to_string(&said).unwrap_or_default();
        format!("verdicts of {url}, fuzzing {fuzzer}, jailed {jailed}: {outcome:?}; the server said: {said}")
    })
}
