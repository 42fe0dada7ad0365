//! Import circles: files that name each other, directly or by way of others.
//!
//! A re-export is no import, so that a module's own file can be its face; what that file uses itself is one.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Path, Source};

/// How many re-exports lead on from one to the next, at most.
const HOPS: usize = 8;

/// Which file names which.
pub(super) struct Graph {
    arrows: BTreeMap<Path, BTreeSet<Path>>,
}

impl Graph {
    pub(super) fn new(sources: &[Source]) -> Graph {
        let sources: BTreeMap<&Path, &Source> = sources
            .iter()
            .filter(|source| !source.test)
            .map(|source| (&source.module, source))
            .collect();
        let mut arrows = BTreeMap::new();
        for (module, source) in &sources {
            let named = source.names.iter().filter(|name| !name.test);
            let files = named.filter_map(|name| resolve(&sources, &name.path, HOPS));
            arrows.insert((*module).clone(), files.filter(|file| file != *module).collect());
        }
        Graph { arrows }
    }

    /// The same for the modules of the package, whatever lies in them.
    pub(super) fn of_modules(&self) -> Graph {
        let first = |path: &Path| path[..1].to_vec();
        let mut arrows: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
        for (module, named) in &self.arrows {
            let others = named.iter().map(first).filter(|other| *other != first(module));
            arrows.entry(first(module)).or_default().extend(others);
        }
        Graph { arrows }
    }

    /// The modules that `module` names.
    pub(super) fn named_by(&self, module: &Path) -> impl Iterator<Item = &Path> {
        self.arrows.get(module).into_iter().flatten()
    }

    /// All modules.
    pub(super) fn modules(&self) -> impl Iterator<Item = &Path> {
        self.arrows.keys()
    }

    /// Sets of files each of which can be reached from each other of its set.
    pub(super) fn circles(&self) -> Vec<Vec<Path>> {
        let reached: BTreeMap<&Path, BTreeSet<&Path>> = self
            .modules()
            .map(|module| (module, self.reached_from(module)))
            .collect();
        let mut circles = BTreeSet::new();
        for (module, others) in &reached {
            let back = others.iter().filter(|other| reached[**other].contains(module));
            let circle: Vec<Path> = back.map(|other| (*other).clone()).collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached_from<'a>(&'a self, module: &'a Path) -> BTreeSet<&'a Path> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![module]);
        while let Some(module) = next.pop() {
            next.extend(self.named_by(module).filter(|named| reached.insert(*named)));
        }
        reached
    }
}

/// What there is to say of each circle, of files and of whole modules.
pub(super) fn findings(graph: &Graph) -> Vec<String> {
    [describe(graph, "files"), describe(&graph.of_modules(), "modules")].concat()
}

fn describe(graph: &Graph, what: &str) -> Vec<String> {
    let name = |path: &Path| path.join("::");
    let circles = graph.circles();
    circles
        .iter()
        .map(|circle| {
            let inside = |module: &Path| {
                graph
                    .named_by(module)
                    .filter(|named| circle.contains(named))
                    .map(name)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let arrows: Vec<String> = circle
                .iter()
                .map(|module| format!("  {} names {}", name(module), inside(module)))
                .collect();
            format!(
                "{} {what} import each other in a circle:\n{}",
                circle.len(),
                arrows.join("\n")
            )
        })
        .collect()
}

/// The file in which a path ends.
fn resolve(sources: &BTreeMap<&Path, &Source>, path: &Path, hops: usize) -> Option<Path> {
    let length = (1..=path.len())
        .rev()
        .find(|length| sources.contains_key(&path[..*length].to_vec()))?;
    let (module, rest) = path.split_at(length);
    let source = sources[&module.to_vec()];
    let leads_on = rest
        .first()
        .and_then(|name| source.reexports.iter().find(|(exported, _)| exported == name));
    match leads_on {
        Some((_, target)) if hops > 0 && target != path => {
            resolve(sources, &[target.clone(), rest[1..].to_vec()].concat(), hops - 1)
        }
        _ => Some(module.to_vec()),
    }
}
