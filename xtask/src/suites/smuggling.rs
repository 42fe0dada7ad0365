//! Request smuggling: smugglex, and the corpus of raw HTTP/1 requests, against servers that each read HTTP in a way of
//! their own.
//!
//! The servers' own logs say what arrived. Each line there must be a request that the jail's log says the rules allowed,
//! as often as they did, and what the corpus says arrives must have arrived. (A body that breaks off, or that is no body,
//! is found out when its head is on its way: the head arrives, its end never. The log says that it was allowed, and then
//! refused as malformed.)

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use httpjail_lab::{Outcome, eventually};
use serde_json::Value;

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;
use crate::run::root;

const LIMIT: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 8081;
const TLS_PORT: u16 = 8444;
const RULES: [&str; 2] = ["deny: /secret", r"allow: ^https?://ok\.test(:\d+)?/"];
const ORIGINS: [&str; 4] = ["nginx", "apache2", "haproxy", "raw logger"];
/// All that smugglex has; `h2` ones need TLS.
const CHECKS: &str = "cl-te,te-cl,te-te,h2c,h2,cl-edge,cl-0,0-cl,parser-discrepancy,h2-downgrade";

/// How often each `METHOD target` is there.
type Counts = BTreeMap<String, usize>;

/// Runs corpus and scanner against each server.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut table = Table::new(
        "Smuggling: what arrives is what was allowed",
        [
            "origin",
            "what",
            "sent",
            "allowed",
            "broken off",
            "arrived",
            "not allowed",
            "lost",
            "wrong answers",
            "found",
        ],
    );
    for origin in ORIGINS {
        corpus(tools, origin, &mut table)?;
        scanner(tools, origin, "http", &mut table)?;
    }
    scanner(tools, "nginx", "https", &mut table)?;
    Ok(table)
}

fn corpus(tools: &Tools, origin: &str, table: &mut Table) -> Result<()> {
    let (rig, log) = rig_with(tools, origin)?;
    let file = root().join("tests/corpus/http1.txt");
    let path = file.to_str().context("a path in UTF-8")?;
    let words = rig.words("smuggling.py", &["send", path, "ok.test", &PORT.to_string()]);
    let outcome = jailed(&rig).command(words).run();
    let answers: BTreeMap<String, String> =
        serde_json::from_str(&outcome.stdout).with_context(|| format!("answers of the corpus: {outcome:?}"))?;
    let text = fs::read_to_string(&file).context("read the corpus")?;
    let cases: Vec<[&str; 3]> = text.lines().filter_map(case).collect();
    let wanted: Vec<&str> = cases
        .iter()
        .filter(|[_, _, arrives]| *arrives != "-")
        .flat_map(|[_, _, arrives]| arrives.split("; "))
        .collect();
    let expected = counts(wanted.iter().map(|one| without_body(one).replace(" *", " /*")));
    let mut arrived = Counts::new();
    eventually(PATIENCE, || {
        arrived = arrivals(&log);
        missing(&expected, &arrived).is_empty()
    });
    let wrong: Vec<String> = cases
        .iter()
        .filter(|[name, statuses, _]| {
            !answers
                .get(*name)
                .is_some_and(|got| fits(got, statuses, origin == "haproxy"))
        })
        .map(|[name, statuses, _]| {
            format!(
                "{name}: {} instead of {statuses}",
                answers.get(*name).map_or("?", |got| got)
            )
        })
        .collect();
    let (allowed, broken) = allowed(&outcome);
    let (surplus, lost) = (missing(&arrived, &allowed), missing(&expected, &arrived));
    table.row(
        surplus.is_empty() && lost.is_empty() && wrong.is_empty() && cases.len() >= 80,
        [
            origin.to_owned(),
            "corpus".into(),
            cases.len().to_string(),
            total(&allowed),
            broken.to_string(),
            total(&arrived),
            total(&surplus),
            total(&lost),
            wrong.len().to_string(),
            "-".into(),
        ],
    );
    notes(table, origin, &surplus, &lost);
    for line in wrong.iter().take(10) {
        table.note(format!("{origin}: {line}"));
    }
    Ok(())
}

fn scanner(tools: &Tools, origin: &str, scheme: &str, table: &mut Table) -> Result<()> {
    let (rig, log) = rig_with(tools, origin)?;
    let port = if scheme == "https" { TLS_PORT } else { PORT };
    let scan = |ca: &Path| {
        let smugglex = rig.tools.smugglex().display().to_string();
        let url = format!("{scheme}://ok.test:{port}/");
        let ca = ca.display().to_string();
        let words = [
            &smugglex,
            "--json",
            "--timeout",
            "2",
            "--checks",
            CHECKS,
            "--cacert",
            &ca,
            &url,
        ];
        words.map(ToOwned::to_owned)
    };
    let without = rig.unjailed().limit(LIMIT).command(scan(&rig.lab.upstream_ca())).run();
    let before = arrivals(&log);
    let outcome = jailed(&rig)
        .command(scan(Path::new("/etc/ssl/certs/ca-certificates.crt")))
        .run();
    let arrived = missing(&arrivals(&log), &before);
    let (allowed, broken) = allowed(&outcome);
    let surplus = missing(&arrived, &allowed);
    let (found_without, found) = (findings(&without)?, findings(&outcome)?);
    table.row(
        surplus.is_empty() && found.is_empty(),
        [
            origin.to_owned(),
            format!("smugglex {scheme}"),
            outcome.events_with(&[("event", "request")]).len().to_string(),
            total(&allowed),
            broken.to_string(),
            total(&arrived),
            total(&surplus),
            "-".into(),
            "-".into(),
            format!("{} ({} without)", found.len(), found_without.len()),
        ],
    );
    notes(table, origin, &surplus, &Counts::new());
    for finding in found {
        table.note(format!("{origin}: smugglex found {finding}"));
    }
    Ok(())
}

fn jailed<'lab>(rig: &'lab Rig<'_>) -> httpjail_lab::JailBuilder<'lab> {
    RULES
        .iter()
        .fold(rig.lab.jail().limit(LIMIT), |jail, rule| jail.rule(rule))
}

/// A lab with this server in its world, and where it logs.
fn rig_with<'tools>(tools: &'tools Tools, origin: &str) -> Result<(Rig<'tools>, std::path::PathBuf)> {
    let mut rig = Rig::raise(tools)?;
    let log = rig.lab.fresh_path("arrived");
    let (chain, key) = rig.lab.certificate("ok.test")?;
    let both = rig.lab.file("both.pem", [fs::read(&chain)?, fs::read(&key)?].concat());
    let fill = |template: &str| -> Result<std::path::PathBuf> {
        let text = fs::read_to_string(rig.tools.script(template)).context("read a server's configuration")?;
        let places = [
            ("@DIR@", rig.lab.dir()),
            ("@LOG@", &log),
            ("@CHAIN@", &chain),
            ("@KEY@", &key),
            ("@BOTH@", &both),
        ];
        let text = places.iter().fold(text, |text, (place, path)| {
            text.replace(place, &path.display().to_string())
        });
        Ok(rig.lab.file(template, text))
    };
    let mut command = match origin {
        "nginx" => {
            let mut command = Command::new("nginx");
            command.arg("-c").arg(fill("nginx.conf")?).arg("-p").arg(rig.lab.dir());
            command
        }
        "apache2" => {
            let mut command = Command::new("apache2");
            command.args(["-D", "FOREGROUND", "-f"]).arg(fill("apache2.conf")?);
            command
        }
        "haproxy" => {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(fill("haproxy.cfg")?);
            command
        }
        _ => {
            let mut command = rig.script("smuggling.py");
            command.arg("log").arg(PORT.to_string()).arg(&log);
            command
        }
    };
    let said = rig.serve(&mut command, PORT)?;
    // haproxy logs to its standard output.
    Ok((rig, if origin == "haproxy" { said } else { log }))
}

/// Name, statuses and arrivals of a line of the corpus.
fn case(line: &str) -> Option<[&str; 3]> {
    let mut columns = line.split(" | ").map(str::trim);
    let case = [columns.next()?, columns.next()?, columns.next()?];
    (!line.starts_with('#')).then_some(case)
}

/// `METHOD target` of `METHOD target=body`; a target with a query stands without one.
fn without_body(arrives: &str) -> &str {
    match arrives.split_once('=') {
        Some((request, _)) if !request.contains('?') => request,
        _ => arrives,
    }
}

/// Whether these are the answers wanted; 200 stands for anything that the server says. One that is `hasty` may say it
/// before the body turns out to be none.
fn fits(got: &str, wanted: &str, hasty: bool) -> bool {
    let (got, wanted): (Vec<&str>, Vec<&str>) = (got.split(',').collect(), wanted.split(',').collect());
    let one = |(got, wanted): (&&str, &&str)| {
        got == wanted || (*wanted == "200" && *got != "-") || (hasty && *wanted == "400" && *got == "200")
    };
    got.len() == wanted.len() && got.iter().zip(&wanted).all(one)
}

/// What the server logged: `METHOD target[ VERSION]`, a tab, more.
fn arrivals(log: &Path) -> Counts {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    counts(text.lines().filter_map(|line| {
        let (request, _) = line.split_once('\t')?;
        let versions = [" HTTP/1.1", " HTTP/2.0"];
        let bare = versions.iter().find_map(|version| request.strip_suffix(version));
        // A server is asked about itself by `*`, which the log spells as a path.
        let request = bare.unwrap_or(request).replace(" *", " /*");
        (!request.is_empty()).then_some(request)
    }))
}

/// What the jail's log says the rules allowed, in the same form, and how much of it broke off.
fn allowed(outcome: &Outcome) -> (Counts, usize) {
    let requests = outcome.events_with(&[("event", "request")]);
    let of = |event: &Value, name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let allowed = || requests.iter().filter(|event| of(event, "rule").starts_with("allow"));
    let broken = allowed().filter(|event| of(event, "verdict") == "deny").count();
    let counts = counts(allowed().map(|event| {
        let (method, url) = (of(event, "method"), of(event, "url"));
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        format!("{method} /{path}")
    }));
    (counts, broken)
}

/// What smugglex holds to be vulnerable.
fn findings(outcome: &Outcome) -> Result<Vec<String>> {
    let report: Value =
        serde_json::from_str(&outcome.stdout).with_context(|| format!("smugglex's report: {outcome:?}"))?;
    let mut found = Vec::new();
    collect(&report, &mut found);
    Ok(found)
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            if fields.get("vulnerable") == Some(&true.into()) {
                found.push(value.to_string());
            }
            fields.values().for_each(|field| collect(field, found));
        }
        _ => {}
    }
}

fn counts(items: impl Iterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

/// What is in `these` more often than in `those`.
fn missing(these: &Counts, those: &Counts) -> Counts {
    let more = |(item, count): (&String, &usize)| {
        let surplus = count.saturating_sub(those.get(item).copied().unwrap_or(0));
        (surplus > 0).then(|| (item.clone(), surplus))
    };
    these.iter().filter_map(more).collect()
}

fn total(counts: &Counts) -> String {
    counts.values().sum::<usize>().to_string()
}

fn notes(table: &mut Table, origin: &str, surplus: &Counts, lost: &Counts) {
    for (what, counts) in [("not allowed", surplus), ("lost", lost)] {
        for (request, count) in counts.iter().take(10) {
            table.note(format!("{origin}: {what}: {count} x {request:?}"));
        }
    }
}
