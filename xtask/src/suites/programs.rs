//! Real programs in a jail: what each can do there, next to what it can do without.
//!
//! A program says what worked; whether its request arrived, over TLS and once, the origin's log says, and that what the
//! rules deny did not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use httpjail_lab::{JailBuilder, Outcome, Seen};

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;
use crate::run::{command, quietly, root};

const LIMIT: Duration = Duration::from_secs(180);
const RULES: [&str; 2] = [
    "deny: ^https://[^/]+/denied",
    r"allow: ^https://(ok|packages|grpc|ws|web)\.test(:\d+)?/",
];
/// What most programs have; the rest is listed in a column of its own.
const FEATURES: [&str; 6] = ["get", "post", "down", "sse", "websocket", "denied"];
/// Those whose requests the lab's own origin counts.
const COUNTED: [&str; 4] = ["get", "post", "down", "sse"];
const CLIENTS: [&str; 19] = [
    "curl-1.1",
    "curl-2",
    "wget",
    "git",
    "pip",
    "npm",
    "cargo",
    "java",
    "go",
    "node",
    "requests",
    "httpx",
    "httpx-2",
    "aiohttp",
    "websockets",
    "grpcio",
    "tonic",
    "chromium",
    "srt",
];

/// Runs all of them with and without a jail.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut head = vec!["program".to_owned(), "upstream".to_owned()];
    head.extend(FEATURES.map(str::to_owned));
    head.push("more".to_owned());
    let mut table = Table::new(
        "Programs in a jail (get 9 B, post 1 MiB and back, down 8 MB, sse 20 events)",
        head,
    );
    for client in CLIENTS {
        one(tools, client, &mut table).with_context(|| client.to_owned())?;
    }
    Ok(table)
}

/// A sandbox within is for users: root's jail gives it no /proc.
fn by<'lab>(client: &str, run: JailBuilder<'lab>) -> JailBuilder<'lab> {
    if client == "srt" { run.as_user() } else { run }
}

fn one(tools: &Tools, client: &str, table: &mut Table) -> Result<()> {
    let mut rig = Rig::raise(tools)?;
    serve(&mut rig)?;
    let ca = rig.lab.upstream_ca();
    let (without, _) = features(&rig, client, by(client, rig.unjailed().env("LAB_CA", &ca)))?;
    let before = rig.lab.heard().requests.all().len();
    let jail = RULES.iter().fold(rig.lab.jail(), |jail, rule| jail.rule(rule));
    let (within, outcome) = features(&rig, client, by(client, jail))?;
    let seen = rig.lab.heard().requests.all().split_off(before);
    let asked = |feature: &str| -> Vec<&Seen> {
        let mark = format!("?{feature}-{client}");
        seen.iter().filter(|seen| seen.path.ends_with(&mark)).collect()
    };
    let marked = !asked("get").is_empty();
    let cell = |feature: &str| {
        let said = within.get(feature).map_or("-", String::as_str);
        let arrived = asked(feature);
        match said {
            "ok" if feature == "denied" && !arrived.is_empty() => "ARRIVED".to_owned(),
            "ok" if feature == "denied" && denials(&outcome) == 0 => "NOT LOGGED".to_owned(),
            "ok" if marked && COUNTED.contains(&feature) && !(arrived.len() == 1 && arrived[0].tls) => {
                format!("ARRIVED {} TIMES", arrived.len())
            }
            "bad" if without.get(feature).map(String::as_str) == Some("bad") => "bad without too".to_owned(),
            said => said.to_owned(),
        }
    };
    let more: Vec<&String> = within
        .keys()
        .filter(|feature| !FEATURES.contains(&feature.as_str()))
        .collect();
    let mut cells = vec![client.to_owned()];
    cells.push(asked("get").first().map_or("-".into(), |seen| seen.version.clone()));
    cells.extend(FEATURES.iter().map(|feature| cell(feature)));
    cells.push(
        more.iter()
            .map(|feature| format!("{feature} {}", cell(feature)))
            .collect::<Vec<_>>()
            .join(", "),
    );
    // What was possible without a jail must be in the table, and nothing must be but what is well.
    let complete = without.keys().all(|feature| within.contains_key(feature));
    let good = complete
        && outcome.code() == Some(0)
        && !within.is_empty()
        && within.keys().all(|feature| cell(feature) == "ok");
    table.row(good, cells);
    if !good {
        let tail: Vec<&str> = outcome.stderr.lines().rev().take(12).collect();
        for line in tail.iter().rev() {
            table.note(format!("{client}: {line}"));
        }
    }
    Ok(())
}

/// Starts what the lab's own origin is not: registries, gRPC, a WebSocket, a site.
fn serve(rig: &mut Rig<'_>) -> Result<()> {
    let certificate = |rig: &Rig<'_>, name: &str| rig.lab.certificate(name);
    for (kind, name, port) in [
        ("packages", "packages.test", 8443),
        ("grpc", "grpc.test", 8446),
        ("websocket", "ws.test", 9443),
    ] {
        let (chain, key) = certificate(rig, name)?;
        let mut command = rig.script("origins.py");
        command.args([kind, &port.to_string()]).args([chain, key]);
        if kind == "packages" {
            command.arg(folder(rig, "repositories")?);
        }
        rig.serve(&mut command, port)?;
    }
    let mut command = rig.script("origins.py");
    rig.serve(command.args(["events", "8447"]), 8447)?;
    let (chain, key) = certificate(rig, "web.test")?;
    let log = rig.lab.fresh_path("web.log");
    let mut site = fs::read_to_string(rig.tools.script("web.conf")).context("read a server's configuration")?;
    for (place, path) in [
        ("@DIR@", rig.lab.dir()),
        ("@LOG@", &log),
        ("@CHAIN@", &chain),
        ("@KEY@", &key),
    ] {
        site = site.replace(place, &path.display().to_string());
    }
    let site = rig.lab.file("web.conf", site);
    rig.serve(
        Command::new("nginx").arg("-c").arg(site).arg("-p").arg(rig.lab.dir()),
        8445,
    )?;
    Ok(())
}

/// What the program said of each feature.
fn features(rig: &Rig<'_>, client: &str, run: JailBuilder<'_>) -> Result<(BTreeMap<String, String>, Outcome)> {
    let work = folder(rig, "work")?;
    // Not every program runs as root.
    fs::set_permissions(&work, PermissionsExt::from_mode(0o777)).context("open the folder")?;
    let show = |path: &Path| path.display().to_string();
    let script = rig.tools.script("programs.sh");
    let here = root().join("tests/suites");
    let words = [
        "bash".to_owned(),
        show(&script),
        client.to_owned(),
        show(&here),
        show(&rig.tools.python()),
        show(&work),
    ];
    // The toolchain's own cargo and rustc, not rustup's, which look for a home.
    let sysroot = quietly(&mut command("rustc", ["--print", "sysroot"]))?.stdout;
    let toolchain = String::from_utf8_lossy(&sysroot).trim().to_owned();
    let path = format!("{toolchain}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    let outcome = run
        .env("PATH", path)
        .env("GO_CLIENT", rig.tools.go_client())
        .env("TONIC_CLIENT", rig.tools.tonic_client())
        .env("SRT", rig.tools.sandbox_runtime())
        .limit(LIMIT)
        .command(words)
        .run();
    let said = outcome
        .stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(feature, result)| (feature.to_owned(), result.to_owned()))
        .collect();
    keep_picture(&work)?;
    Ok((said, outcome))
}

/// Keeps the browser's screenshot, to be looked at.
fn keep_picture(work: &Path) -> Result<()> {
    let picture = work.join("page.png");
    if picture.is_file() {
        fs::copy(picture, root().join("target/suites/chromium.png")).context("keep the picture")?;
    }
    Ok(())
}

fn folder(rig: &Rig<'_>, name: &str) -> Result<PathBuf> {
    let path = rig.lab.fresh_path(name);
    fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

/// How many requests for what the rules deny were logged as denied.
fn denials(outcome: &Outcome) -> usize {
    let denied = outcome.events_with(&[("verdict", "deny"), ("status", "403")]);
    let grpc = outcome.events_with(&[("verdict", "deny"), ("event", "request")]);
    denied.len().max(grpc.len())
}
