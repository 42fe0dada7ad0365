//! slowhttptest: hundreds of connections that say a byte now and then; others are served within a second meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;

const LIMIT: Duration = Duration::from_secs(300);
/// Seconds that each attack lasts, and its connections; a jail may have 1024.
const ATTACK: &str = "-c 500 -r 200 -l 20 -p 5";
const WITHIN: f64 = 1.0;
const ATTACKS: [(&str, &str); 4] = [
    (
        "slow heads (-H), TLS",
        "-H -i 5 -x 24 -t GET -u https://slow.test/heads",
    ),
    ("slow heads (-H)", "-H -i 5 -x 24 -t GET -u http://slow.test/heads"),
    (
        "slow bodies (-B)",
        "-B -i 5 -s 8192 -x 10 -t POST -u https://slow.test/echo",
    ),
    (
        "slow readers (-X)",
        "-X -w 10 -y 20 -n 5 -z 32 -k 3 -u https://slow.test/bytes/1000000",
    ),
];

/// Runs each attack with and without a jail.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut table = Table::new(
        "slowhttptest: 500 connections for 20 s, and honest requests meanwhile",
        ["attack", "against", "honest", "failed", "slowest", "slow at the origin"],
    );
    for (name, attack) in ATTACKS {
        for jailed in [false, true] {
            let rig = Rig::raise(tools)?;
            let run = if jailed {
                rig.lab.jail().rule(r"allow: ^https?://(ok|slow)\.test/")
            } else {
                rig.unjailed()
            };
            let line = format!("slowhttptest {ATTACK} {attack}");
            let words = rig.words("slow.py", &["https://ok.test/status/200?honest", &line]);
            let outcome = run.limit(LIMIT).command(words).run();
            let said: Value =
                serde_json::from_str(&outcome.stdout).with_context(|| format!("what the witness saw: {outcome:?}"))?;
            let number = |name: &str| said[name].as_f64().unwrap_or(f64::INFINITY);
            let arrived = rig.lab.requests_for("slow.test").len();
            // A head that never ends is no request: none may arrive but the tool's own look at the server, once in 5 s.
            let quiet = !attack.starts_with("-H") || arrived < 10;
            let good = number("failed") == 0.0 && number("slowest") < WITHIN && number("served") > 0.0 && quiet;
            table.row(
                good || !jailed,
                [
                    name.to_owned(),
                    if jailed { "the jail's proxy" } else { "the origin alone" }.to_owned(),
                    number("served").to_string(),
                    number("failed").to_string(),
                    format!("{:.2} s", number("slowest")),
                    arrived.to_string(),
                ],
            );
            if jailed {
                table.note(format!("{name}: {}", said["attack"].as_str().unwrap_or("?")));
            }
        }
    }
    Ok(table)
}
