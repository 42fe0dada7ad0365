//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Who may import whom, where unsafe code may stand, how long a file may get, that each dependency has a reason, and
//! that nothing unfinished or private to one machine is left, that each page that is named is there, and that the threat
//! model and the tests agree ([`crate::threats`]).

mod circles;
mod figures;
mod imports;
mod source;
mod syntax;
mod tables;
#[cfg(test)]
mod tests;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::run::{command, quietly, root};
use crate::threats;
use circles::Graph;
use source::Source;

/// Where unsafe code is at home.
const UNSAFE_HOMES: [&str; 3] = ["httpjail/src/sys/", "httpjail/src/sys.rs", "httpjail-ebpf/"];
/// A file that is longer wants to be two.
const LONG: usize = 350;
// In two parts each, so that this file does not find itself.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Pages elsewhere that comments lead to, and those of tests.
const PAGES_OF_OTHERS: [&str; 3] = ["grpc/doc/PROTOCOL-HTTP2.md", "grpc/doc/statuscodes.md", "a.md"];
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/.")];

/// Each file of the repository that is text, with its path.
pub(crate) fn files() -> Result<Vec<(String, String)>> {
    let listed = quietly(&mut command(
        "git",
        ["ls-files", "--cached", "--others", "--exclude-standard"],
    ))?;
    let listed = String::from_utf8(listed.stdout).context("file names in UTF-8")?;
    let text = |path: &str| fs::read_to_string(root().join(path)).ok();
    // Deleted and not yet committed, or not text: nothing to read.
    let files = listed.lines().filter_map(|path| Some((path.to_owned(), text(path)?)));
    Ok(files.collect())
}

/// What to do besides checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Also {
    Nothing,
    /// Write the tables of imports into ARCHITECTURE.md first.
    Write,
    /// Print the size of the house.
    Figures,
}

/// Checks the whole repository.
pub(crate) fn run(also: Also) -> Result<()> {
    if also == Also::Write {
        write_tables()?;
    }
    let files = files()?;
    let (mut findings, mut manifests) = (Vec::new(), Vec::new());
    let mut sources = Vec::new();
    for (path, text) in &files {
        findings.extend(leftovers(path, text));
        findings.extend(pages(path, text, &files));
        if path.ends_with(".rs") {
            sources.extend(Source::read(path, text)?);
            findings.extend(unsafe_code(path, text));
            findings.extend(length(path, text));
        }
        if path.ends_with("Cargo.toml") {
            manifests.push((path, text));
        }
    }
    let graph = Graph::new(&sources);
    findings.extend(imports::findings(&sources));
    findings.extend(imports::floors(&graph));
    findings.extend(circles::findings(&graph));
    findings.extend(stale_tables()?);
    findings.extend(threats::check(&files)?);
    if also == Also::Figures {
        figures::print(&sources, &graph);
    }
    let table = fs::read_to_string(root().join("CONTRIBUTING.md")).context("read CONTRIBUTING.md")?;
    findings.extend(
        manifests
            .iter()
            .flat_map(|(path, text)| dependencies(path, text, &table)),
    );
    if !findings.is_empty() {
        bail!("the house is not tidy:\n{}", findings.join("\n"));
    }
    Ok(())
}

fn page() -> Result<String> {
    fs::read_to_string(root().join(imports::PAGE)).context("read the page of the tables of imports")
}

/// The page with the tables as they are made now.
fn with_tables(page: &str) -> Result<String> {
    let parts = page
        .split_once(imports::BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(imports::END)?.1)));
    let (before, after) =
        parts.with_context(|| format!("{} has no lines\n{}\n{}", imports::PAGE, imports::BEGIN, imports::END))?;
    Ok(format!(
        "{before}{}\n{}{}{after}",
        imports::BEGIN,
        imports::render(),
        imports::END
    ))
}

fn write_tables() -> Result<()> {
    fs::write(root().join(imports::PAGE), with_tables(&page()?)?).context("write the tables of imports")
}

fn stale_tables() -> Result<Option<String>> {
    let page = page()?;
    let stale = with_tables(&page)? != page;
    Ok(stale.then(|| {
        format!(
            "{}: the tables of imports are stale: run cargo xtask tidy --write",
            imports::PAGE
        )
    }))
}

/// Unsafe code where it is not at home.
fn unsafe_code(path: &str, text: &str) -> Vec<String> {
    if UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or(line).trim();
        // Plain data for the kernel is declared so by an empty unsafe impl, where the data is.
        if path.starts_with("httpjail-common/") && line.starts_with(concat!("unsafe", " impl")) {
            continue;
        }
        let keyword = [
            concat!("unsafe", " {"),
            concat!("unsafe", " fn"),
            concat!("unsafe", " impl"),
            concat!("unsafe", " extern"),
        ];
        let lint = concat!("unsafe", "_code");
        let attribute = path != "httpjail/src/lib.rs" && line.starts_with("#") && line.contains(lint);
        if keyword.iter().any(|keyword| line.contains(keyword)) || (attribute && !path.starts_with("httpjail-common/"))
        {
            findings.push(format!("{path}:{}: unsafe code outside httpjail/src/sys", number + 1));
        }
    }
    findings
}

/// A file that has grown too long; tests may.
fn length(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let tests = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
    (lines > LONG && !tests).then(|| format!("{path} has {lines} lines and wants to be two files"))
}

/// Dependencies that CONTRIBUTING.md gives no reason for.
fn dependencies(path: &str, manifest: &str, table: &str) -> Vec<String> {
    let mut in_section = false;
    let mut findings = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_section = line.trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, value)) = line.split_once('=').filter(|_| in_section && !line.starts_with('#')) {
            let name = name.trim();
            if !value.contains("path =") && !table.contains(&format!("| `{name}` |")) {
                findings.push(format!("{path}: CONTRIBUTING.md has no reason for `{name}`"));
            }
        }
    }
    findings
}

/// What must not be left lying about.
fn leftovers(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = |word: &&&str| line.split(|c: char| !c.is_alphanumeric()).any(|found| found == **word);
        let unfinished = UNFINISHED.iter().find(words);
        let machine = MACHINE_PATHS.iter().find(|machine| line.contains(**machine));
        if let Some(found) = unfinished.or(machine) {
            findings.push(format!("{path}:{}: {found} is left", number + 1));
        }
    }
    findings
}

/// Pages that are spoken of and are not in the repository. Those of others are named with their folder.
fn pages(path: &str, text: &str, files: &[(String, String)]) -> Vec<String> {
    let mut findings = Vec::new();
    let is_there = |page: &str| {
        let page = page.trim_start_matches(['.', '/']);
        let fits = |name: &str| name == page || name.strip_suffix(page).is_some_and(|before| before.ends_with('/'));
        files.iter().any(|(name, _)| fits(name))
    };
    for (number, line) in text.lines().enumerate() {
        let words = line.split(|c: char| !c.is_alphanumeric() && !"_-./".contains(c));
        let words = words.map(|word| word.trim_end_matches('.'));
        let known = |page: &&str| is_there(page) || PAGES_OF_OTHERS.contains(page);
        for page in words.filter(|word| word.ends_with(".md") && word.len() > ".md".len() && !known(word)) {
            findings.push(format!("{path}:{}: {page} is not in the repository", number + 1));
        }
    }
    findings
}
