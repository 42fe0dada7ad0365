//! The local leg's TLS as testssl.sh and sslyze see it: nothing above "low".

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use httpjail_lab::JailBuilder;
use serde_json::Value;

use super::install::Tools;
use super::rig::Rig;
use super::table::Table;

const LIMIT: Duration = Duration::from_secs(1200);
const RULE: &str = r"allow: ^https://tls\.test/";
const SEVERITIES: [&str; 7] = ["OK", "INFO", "WARN", "LOW", "MEDIUM", "HIGH", "CRITICAL"];
/// What is so by design. A leaf is made for a few days by an authority that one machine knows: whoever has its key has more
/// than a list of revoked leaves could take back.
const BY_DESIGN: [&str; 3] = ["cert_expirationStatus", "cert_notAfter", "cert_revocation"];
/// Protocols, cipher categories, forward secrecy, preferences, server defaults, vulnerabilities.
const TESTSSL: &str = "testssl --quiet --color 0 --warnings off --ip one -p -s -f -P -S -U";

/// Everything that is checked below, some of which it leaves out unless it is asked.
const SSLYZE: &str = "--certinfo --sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --compression --early_data \
    --openssl_ccs --heartbleed --robot --reneg";

/// Runs both against the origin alone and against the jail's proxy.
pub(crate) fn run(tools: &Tools) -> Result<Table> {
    let mut head = vec!["tool", "against"];
    head.extend(SEVERITIES);
    let mut table = Table::new("TLS: what testssl.sh and sslyze find", head);
    for jailed in [false, true] {
        testssl(tools, jailed, &mut table)?;
    }
    for jailed in [false, true] {
        sslyze(tools, jailed, &mut table)?;
    }
    Ok(table)
}

fn against(jailed: bool) -> &'static str {
    if jailed { "the jail's proxy" } else { "the origin alone" }
}

fn run_in<'lab>(rig: &'lab Rig<'_>, jailed: bool) -> JailBuilder<'lab> {
    let run = if jailed {
        rig.lab.jail().rule(RULE)
    } else {
        rig.unjailed()
    };
    run.limit(LIMIT)
}

fn testssl(tools: &Tools, jailed: bool, table: &mut Table) -> Result<()> {
    let rig = Rig::raise(tools)?;
    let file = rig.lab.fresh_path("testssl.json");
    let script = format!(
        "{TESTSSL} --add-ca \"$SSL_CERT_FILE\" --jsonfile {} tls.test:443",
        file.display()
    );
    let outcome = run_in(&rig, jailed).shell(&script).run();
    let text = fs::read_to_string(&file).with_context(|| format!("testssl's report: {outcome:?}"))?;
    let found: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("testssl's report: {text}"))?;
    let mut counts = BTreeMap::<&str, usize>::new();
    for one in &found {
        *counts.entry(one["severity"].as_str().unwrap_or("?")).or_default() += 1;
    }
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or("?").to_owned();
    let by_design = |one: &Value| BY_DESIGN.contains(&text(one, "id").as_str());
    let severe =
        |one: &&Value| !["OK", "INFO", "LOW", "WARN"].contains(&text(one, "severity").as_str()) && !by_design(one);
    let good = found.len() > 30 && !found.iter().any(|one| severe(&one));
    let mut cells = vec!["testssl".to_owned(), against(jailed).to_owned()];
    cells.extend(SEVERITIES.map(|severity| counts.get(severity).copied().unwrap_or(0).to_string()));
    table.row(good || !jailed, cells);
    for one in found
        .iter()
        .filter(|one| !["OK", "INFO"].contains(&text(one, "severity").as_str()))
    {
        let why = if by_design(one) { " (by design)" } else { "" };
        let (severity, id, finding) = (text(one, "severity"), text(one, "id"), text(one, "finding"));
        table.note(format!("testssl, {}: {severity} {id}: {finding}{why}", against(jailed)));
    }
    Ok(())
}

fn sslyze(tools: &Tools, jailed: bool, table: &mut Table) -> Result<()> {
    let rig = Rig::raise(tools)?;
    let file = rig.lab.fresh_path("sslyze.json");
    let script = format!(
        "{} {SSLYZE} --certinfo_ca_file \"$SSL_CERT_FILE\" --json_out {} tls.test:443",
        tools.pypi_program("sslyze").display(),
        file.display()
    );
    let outcome = run_in(&rig, jailed).shell(&script).run();
    let text = fs::read_to_string(&file).with_context(|| format!("sslyze's report: {outcome:?}"))?;
    let report: Value = serde_json::from_str(&text).context("sslyze's report as JSON")?;
    let scan = &report["server_scan_results"][0]["scan_result"];
    let accepted = |version: &str| {
        let suites = &scan[format!("{version}_cipher_suites")]["result"]["accepted_cipher_suites"];
        suites.as_array().map(|suites| {
            let name = |suite: &Value| suite["cipher_suite"]["name"].as_str().unwrap_or("?").to_owned();
            suites.iter().map(name).collect::<Vec<_>>()
        })
    };
    let old = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"];
    let flag = |path: [&str; 2]| scan[path[0]]["result"][path[1]].as_bool();
    let trusted = scan["certificate_info"]["result"]["certificate_deployments"][0]["path_validation_results"]
        .as_array()
        .is_some_and(|results| results.iter().any(|result| result["was_validation_successful"] == true));
    let checks = [
        (
            "old versions refused",
            old.iter().all(|version| accepted(version) == Some(Vec::new())),
        ),
        (
            "TLS 1.2 offered",
            accepted("tls_1_2").is_some_and(|suites| !suites.is_empty()),
        ),
        (
            "TLS 1.3 offered",
            accepted("tls_1_3").is_some_and(|suites| !suites.is_empty()),
        ),
        ("certificate trusted", trusted),
        (
            "no compression",
            flag(["tls_compression", "supports_compression"]) == Some(false),
        ),
        (
            "no Heartbleed",
            flag(["heartbleed", "is_vulnerable_to_heartbleed"]) == Some(false),
        ),
        (
            "no CCS injection",
            flag(["openssl_ccs_injection", "is_vulnerable_to_ccs_injection"]) == Some(false),
        ),
        (
            "no renegotiation by clients",
            flag(["session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"]) == Some(false),
        ),
        (
            "no early data",
            flag(["tls_1_3_early_data", "supports_early_data"]) == Some(false),
        ),
        (
            "no ROBOT",
            scan["robot"]["result"]["robot_result"]
                .as_str()
                .is_some_and(|result| result.starts_with("NOT_VULNERABLE")),
        ),
    ];
    let right = checks.iter().filter(|(_, good)| *good).count();
    let cells = [
        "sslyze".to_owned(),
        against(jailed).to_owned(),
        format!("{right} of {}", checks.len()),
    ];
    table.row(right == checks.len() || !jailed, cells);
    for (check, _) in checks.iter().filter(|(_, good)| !good) {
        table.note(format!("sslyze, {}: not so: {check}", against(jailed)));
    }
    for version in ["tls_1_2", "tls_1_3"].iter().filter(|_| jailed) {
        let suites = accepted(version).unwrap_or_default().join(" ");
        table.note(format!("sslyze, {}: {version}: {suites}", against(jailed)));
    }
    Ok(())
}
