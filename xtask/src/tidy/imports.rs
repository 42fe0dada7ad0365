//! Who may import whom: the modules of the package, and the floors inside the large ones.
//!
//! The tables say what is allowed; a right that is not used goes. ARCHITECTURE.md has them too, written by
//! `cargo xtask tidy --write`.

use std::collections::BTreeSet;

use super::circles::Graph;
use super::source::{Path, Source};

/// A module or floor, and what it may name.
type Row = (&'static str, &'static [&'static str]);

/// What may be named after `crate::` in each module; beyond itself, which each may.
pub(super) const IMPORTS: &[Row] = &[
    ("sys", &[]),
    ("sync", &[]),
    ("failure", &[]),
    ("backend", &["failure", "policy"]),
    ("weak", &["sys", "backend"]),
    ("net", &[]),
    ("logging", &["audit"]),
    ("policy", &["net"]),
    ("tls", &["net"]),
    ("dns", &["net", "audit", "sync"]),
    ("audit", &["net", "policy", "sync"]),
    ("approve", &["net", "policy", "audit", "sys", "sync"]),
    ("proxy", &["net", "policy", "tls", "audit", "approve", "sync"]),
    (
        "jail",
        &["failure", "net", "sys", "audit::record", "audit::Record", "sync"],
    ),
    ("config", &["net", "policy", "audit"]),
    ("cli", ALL),
    ("lib", ALL),
    ("main", ALL),
];
const ALL: &[&str] = &["*"];

/// What each floor of a module may name of the module's other floors. Files that stand on none are named here too.
pub(super) const FLOORS: &[(&str, &[Row])] = &[
    (
        "proxy",
        &[
            ("limits", &[]),
            ("netlink", &[]),
            ("protocol", &[]),
            ("refusal", &[]),
            ("tasks", &[]),
            ("timeout", &[]),
            ("auth", &["netlink"]),
            ("authority", &["refusal"]),
            ("overload", &["limits"]),
            ("http1", &["limits", "refusal", "timeout", "authority"]),
            ("io", &["overload"]),
            (
                "upstream",
                &[
                    "limits",
                    "netlink",
                    "protocol",
                    "refusal",
                    "auth",
                    "authority",
                    "overload",
                    "http1",
                    "io",
                ],
            ),
            ("config", &["limits", "auth", "overload", "upstream"]),
            ("context", &["tasks", "auth", "overload", "upstream", "config"]),
            (
                "service",
                &[
                    "limits",
                    "protocol",
                    "refusal",
                    "tasks",
                    "authority",
                    "overload",
                    "http1",
                    "io",
                    "upstream",
                    "config",
                    "context",
                ],
            ),
            (
                "downstream",
                &[
                    "limits",
                    "protocol",
                    "refusal",
                    "timeout",
                    "auth",
                    "authority",
                    "overload",
                    "http1",
                    "io",
                    "upstream",
                    "config",
                    "context",
                    "service",
                ],
            ),
            (
                "fuzzing",
                &["limits", "protocol", "http1", "upstream", "service", "downstream"],
            ),
            ("server", &["config", "context", "downstream"]),
        ],
    ),
    (
        "jail",
        &[
            ("protocol", &[]),
            ("sandbox", &[]),
            ("process_info", &["protocol"]),
            ("self_test", &["protocol"]),
            ("steering", &["protocol", "sandbox"]),
            ("termination", &["protocol"]),
            ("unix", &["protocol", "sandbox", "termination"]),
            (
                "process",
                &[
                    "protocol",
                    "sandbox",
                    "process_info",
                    "self_test",
                    "steering",
                    "termination",
                    "unix",
                ],
            ),
            (
                "supervisor",
                &["protocol", "sandbox", "process_info", "steering", "unix", "process"],
            ),
            (
                "attach",
                &[
                    "protocol",
                    "sandbox",
                    "process_info",
                    "self_test",
                    "steering",
                    "termination",
                    "process",
                    "supervisor",
                ],
            ),
            (
                "lifecycle",
                &[
                    "protocol",
                    "sandbox",
                    "self_test",
                    "steering",
                    "unix",
                    "process",
                    "supervisor",
                ],
            ),
            ("stale", &["steering", "attach"]),
        ],
    ),
    (
        "cli",
        &[
            ("anchored_path", &[]),
            ("authority_dirs", &[]),
            ("hints", &[]),
            ("output", &[]),
            ("safe_from", &[]),
            ("args", &["output"]),
            ("invoking_user", &["authority_dirs", "output"]),
            ("run_stats", &["anchored_path", "hints", "output"]),
            ("context", &["invoking_user"]),
            ("policy_file", &["output", "invoking_user"]),
            ("replay", &["output", "invoking_user"]),
            (
                "compose",
                &[
                    "anchored_path",
                    "authority_dirs",
                    "hints",
                    "output",
                    "safe_from",
                    "invoking_user",
                    "run_stats",
                    "policy_file",
                ],
            ),
            (
                "backends",
                &[
                    "authority_dirs",
                    "output",
                    "safe_from",
                    "args",
                    "invoking_user",
                    "run_stats",
                    "context",
                    "compose",
                ],
            ),
            (
                "commands",
                &[
                    "anchored_path",
                    "output",
                    "safe_from",
                    "args",
                    "invoking_user",
                    "run_stats",
                    "context",
                    "policy_file",
                    "replay",
                    "compose",
                    "backends",
                ],
            ),
            (
                "dispatch",
                &["output", "args", "invoking_user", "context", "policy_file", "commands"],
            ),
        ],
    ),
];

/// Where the page has the tables.
pub(super) const PAGE: &str = "ARCHITECTURE.md";
pub(super) const BEGIN: &str = "<!-- imports: written by `cargo xtask tidy --write` -->";
pub(super) const END: &str = "<!-- /imports -->";

/// Imports that the table does not allow, and rights that nobody uses.
pub(super) fn findings(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for source in sources {
        let Some(module) = source.module.first() else {
            continue;
        };
        let Some((module, allowed)) = IMPORTS.iter().find(|(name, _)| name == module) else {
            findings.push(format!("{}: `{module}` is not in the table of imports", source.file));
            continue;
        };
        // Tests build what they need from wherever it is.
        for name in source.names.iter().filter(|name| !name.test) {
            let path = name.path.join("::");
            let fits =
                |allowed: &&&str| **allowed == "*" || path == **allowed || path.starts_with(&format!("{allowed}::"));
            if name.path.is_empty() || name.path[0] == *module {
                continue;
            }
            match allowed.iter().find(fits) {
                Some(right) => drop(used.insert((module, right))),
                None => findings.push(format!(
                    "{}:{}: `{module}` may not import crate::{path}",
                    source.file, name.line
                )),
            }
        }
    }
    let idle = |module: &str, right: &str| right != "*" && !used.contains(&(module, right));
    for (module, rights) in IMPORTS {
        let idle = rights.iter().filter(|right| idle(module, right));
        findings.extend(idle.map(|right| format!("`{module}` has a right to import `{right}` that it does not use")));
    }
    findings
}

/// The same for floors.
pub(super) fn floors(graph: &Graph) -> Vec<String> {
    FLOORS
        .iter()
        .flat_map(|(module, floors)| floors_of(graph, module, floors))
        .collect()
}

pub(super) fn floors_of(graph: &Graph, module: &str, floors: &[(&str, &[&str])]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    let floor = |path: &Path| match &path[..] {
        [first, floor, ..] if first == module => Some(floor.clone()),
        _ => None,
    };
    for from in graph.modules() {
        let Some(name) = floor(from) else {
            continue;
        };
        let Some((name, allowed)) = floors.iter().find(|(floor, _)| *floor == name) else {
            findings.push(format!("`{module}::{name}` is not in the table of floors"));
            continue;
        };
        for to in graph.named_by(from) {
            match floor(to) {
                Some(to) if to == *name => {}
                Some(other) => match allowed.iter().find(|allowed| **allowed == other) {
                    Some(right) => drop(used.insert((name, right))),
                    None => findings.push(format!(
                        "{} may not import {}: `{name}` stands below or beside `{other}`",
                        from.join("::"),
                        to.join("::")
                    )),
                },
                None if to[..] == [module.to_owned()] => {
                    findings.push(format!("{} imports the face of its own module", from.join("::")));
                }
                None => {}
            }
        }
    }
    for (name, rights) in floors {
        let idle = rights.iter().filter(|right| !used.contains(&(name, **right)));
        findings.extend(
            idle.map(|right| format!("`{module}::{name}` has a right to import `{right}` that it does not use")),
        );
    }
    findings
}

/// The tables, as the page has them.
pub(super) fn render() -> String {
    let quoted = |names: &[&str]| match names {
        [] => "nothing".to_owned(),
        ["*"] => "all".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let table = |head: &str, rows: &[(&str, &[&str])]| {
        let rows: String = rows
            .iter()
            .map(|(name, allowed)| format!("| `{name}` | {} |\n", quoted(allowed)))
            .collect();
        format!("\n| {head} | may import |\n|---|---|\n{rows}")
    };
    let floors: String = FLOORS
        .iter()
        .map(|(module, rows)| table(&format!("floor of `{module}`"), rows))
        .collect();
    format!("{}{floors}\n", table("module", IMPORTS))
}
