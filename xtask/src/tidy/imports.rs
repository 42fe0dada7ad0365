//! Who may import whom: the modules of the package, and the floors inside the large ones.
//!
//! The tables say what is allowed; a right that is not used goes. ARCHITECTURE.md has them too, written by
//! `cargo xtask tidy --write`.

use std::collections::BTreeSet;

use super::circles::Graph;
use super::source::{Path, Source};
use super::tables::{FLOORS, IMPORTS, Row};

/// Where the page has the tables.
pub(super) const PAGE: &str = "ARCHITECTURE.md";
pub(super) const BEGIN: &str = "<!-- imports: written by `cargo xtask tidy --write` -->";
pub(super) const END: &str = "<!-- /imports -->";

/// A table, and which of its rights are used.
struct Rights<'a> {
    table: &'a [Row],
    used: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Rights<'a> {
    fn new(table: &'a [Row]) -> Rights<'a> {
        Rights {
            table,
            used: BTreeSet::new(),
        }
    }

    fn row(&self, name: &str) -> Option<&'a Row> {
        self.table.iter().find(|(row, _)| *row == name)
    }

    /// Returns whether a row has a right that fits, which is used by that.
    fn permits(&mut self, (name, rights): &'a Row, fits: impl Fn(&str) -> bool) -> bool {
        let right = rights.iter().find(|right| fits(right));
        self.used.extend(right.map(|right| (*name, *right)));
        right.is_some()
    }

    /// What there is to say of the rights that nobody used; `prefix` stands before a row's name.
    fn idle(&self, prefix: &str) -> Vec<String> {
        let rights = self
            .table
            .iter()
            .flat_map(|(name, rights)| rights.iter().map(move |right| (*name, *right)));
        let idle = rights.filter(|right| right.1 != "*" && !self.used.contains(right));
        idle.map(|(name, right)| format!("`{prefix}{name}` has a right to import `{right}` that it does not use"))
            .collect()
    }
}

/// Imports that the table does not allow, and rights that nobody uses.
pub(super) fn findings(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut rights = Rights::new(IMPORTS);
    for source in sources {
        let Some(module) = source.module.first() else {
            continue;
        };
        let Some(row) = rights.row(module) else {
            findings.push(format!("{}: `{module}` is not in the table of imports", source.file));
            continue;
        };
        // Tests build what they need from wherever it is.
        for name in source.names.iter().filter(|name| !name.test) {
            if name.path.first().is_none_or(|first| first == module) {
                continue;
            }
            let path = name.path.join("::");
            let fits = |right: &str| right == "*" || path == right || path.starts_with(&format!("{right}::"));
            if !rights.permits(row, fits) {
                let (file, line) = (&source.file, name.line);
                findings.push(format!("{file}:{line}: `{module}` may not import crate::{path}"));
            }
        }
    }
    findings.extend(rights.idle(""));
    findings
}

/// The same for floors.
pub(super) fn floors(graph: &Graph) -> Vec<String> {
    FLOORS
        .iter()
        .flat_map(|(module, floors)| floors_of(graph, module, floors))
        .collect()
}

pub(super) fn floors_of(graph: &Graph, module: &str, floors: &[Row]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut rights = Rights::new(floors);
    let floor = |path: &Path| match &path[..] {
        [first, floor, ..] if first == module => Some(floor.clone()),
        _ => None,
    };
    for from in graph.modules() {
        let Some(name) = floor(from) else {
            continue;
        };
        let Some(row) = rights.row(&name) else {
            findings.push(format!("`{module}::{name}` is not in the table of floors"));
            continue;
        };
        for to in graph.named_by(from) {
            match floor(to) {
                Some(other) if other == name || rights.permits(row, |right| right == other) => {}
                Some(other) => findings.push(format!(
                    "{} may not import {}: `{name}` stands below or beside `{other}`",
                    from.join("::"),
                    to.join("::")
                )),
                None if to[..] == [module.to_owned()] => {
                    findings.push(format!("{} imports the face of its own module", from.join("::")));
                }
                None => {}
            }
        }
    }
    findings.extend(rights.idle(&format!("{module}::")));
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
