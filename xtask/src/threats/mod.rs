//! `cargo xtask threats`: the table in SECURITY.md of what blocks each class of threat, and which test proves it.
//!
//! `docs/threat-model.md` names the classes and what blocks each of them with each backend ([`model`]). A test that
//! proves a class says so in the line above it ([`proofs`]). The table is made of both; `cargo xtask tidy` fails if it is
//! not what would be made now, or if something that is promised has neither a test nor a reason why there is none.

mod model;
mod proofs;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::run::root;

const MODEL: &str = "docs/threat-model.md";
const PAGE: &str = "SECURITY.md";
const WAYS: &str = "tests/ways.rs";
const BEGIN: &str = "<!-- table of threats: written by `cargo xtask threats` -->";
const END: &str = "<!-- end of the table of threats -->";

/// How a command is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Backend {
    Ebpf,
    Netns,
    Rootless,
    Attach,
    Weak,
}

const BACKENDS: [Backend; 5] = [
    Backend::Ebpf,
    Backend::Netns,
    Backend::Rootless,
    Backend::Attach,
    Backend::Weak,
];

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Backend::Ebpf => "ebpf",
            Backend::Netns => "netns",
            Backend::Rootless => "rootless",
            Backend::Attach => "attach",
            Backend::Weak => "weak",
        }
    }
}

/// Names of backends with commas between, or `all`.
fn backends(names: &str) -> Option<BTreeSet<Backend>> {
    if names.trim() == "all" {
        return Some(BACKENDS.into());
    }
    let named = |name: &str| BACKENDS.into_iter().find(|backend| backend.name() == name.trim());
    names.split(',').map(named).collect()
}

/// Writes the table anew.
pub(crate) fn run(files: &[(String, String)]) -> Result<()> {
    let (page, findings) = written(files)?;
    fs::write(root().join(PAGE), page).with_context(|| format!("write {PAGE}"))?;
    if !findings.is_empty() {
        bail!("the threat model is not whole:\n{}", findings.join("\n"));
    }
    Ok(())
}

/// What is wrong with the model, with the tests' claims, or with the table; `files` are all of the repository.
pub(crate) fn check(files: &[(String, String)]) -> Result<Vec<String>> {
    let (page, mut findings) = written(files)?;
    if text(files, PAGE)? != page {
        findings.push(format!(
            "{PAGE}: the table of threats is not that of the tests; `cargo xtask threats` writes it"
        ));
    }
    findings.extend(unknown_ids(files)?);
    Ok(findings)
}

/// The page as it should be, and what stands against it.
fn written(files: &[(String, String)]) -> Result<(String, Vec<String>)> {
    let (classes, mut findings) = model::read(text(files, MODEL)?);
    let ways = proofs::Ways::read(text(files, WAYS)?);
    let mut found = Vec::new();
    for (path, text) in files {
        let (proofs, wrong) = proofs::read(path, text, &ways);
        found.extend(proofs);
        findings.extend(wrong);
    }
    for proof in &found {
        if !classes.iter().any(|class| class.id == proof.id) {
            findings.push(format!("{}: {MODEL} has no {}", proof.test, proof.id));
        }
    }
    let rows = table::rows(&classes, &found);
    findings.extend(table::gaps(&rows));
    let page = table::put(text(files, PAGE)?, &table::text(&classes, &rows));
    match page {
        Some(page) => Ok((page, findings)),
        None => bail!("{PAGE} has no place for the table, between\n{BEGIN}\n{END}"),
    }
}

/// Classes that a comment names and the model lacks.
fn unknown_ids(files: &[(String, String)]) -> Result<Vec<String>> {
    let (classes, _) = model::read(text(files, MODEL)?);
    let mut findings = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else {
                continue;
            };
            let words = comment.split(|c: char| !c.is_alphanumeric());
            for word in words.filter(|word| model::is_id(word)) {
                if !classes.iter().any(|class| class.id == word) {
                    findings.push(format!("{path}:{}: {MODEL} has no {word}", number + 1));
                }
            }
        }
    }
    Ok(findings)
}

fn text<'a>(files: &'a [(String, String)], path: &str) -> Result<&'a str> {
    let found = files.iter().find(|(name, _)| name == path);
    Ok(&found.with_context(|| format!("{path} is not in the repository"))?.1)
}
