//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Who may import whom, where unsafe code may stand, how long a file may get, that each dependency has a reason, and
//! that nothing unfinished or private to one machine is left, that each page that is named is there, and that the threat
//! model and the tests agree ([`crate::threats`]). The import table is the one in ARCHITECTURE.md.

#[cfg(test)]
mod tests;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::run::{command, quietly, root};
use crate::threats;

/// What the code of each module of `httpjail` may name after `crate::`; beyond itself, which every module may.
const IMPORTS: [(&str, &[&str]); 15] = [
    ("sys", &[]),
    ("failure", &[]),
    ("weak", &["sys"]),
    ("net", &[]),
    ("logging", &["audit"]),
    ("policy", &["net"]),
    ("tls", &["net"]),
    ("dns", &["net", "policy", "audit"]),
    ("audit", &["net", "policy", "config::options"]),
    ("approve", &["net", "policy", "audit", "sys", "config::file"]),
    ("proxy", &["net", "policy", "tls", "audit", "dns", "approve"]),
    (
        "jail",
        &[
            "failure",
            "net",
            "sys",
            "audit::record",
            "audit::Record",
            "audit::EventKind",
            "audit::Decision",
        ],
    ),
    // `cli::args` is what was typed, and has no code that acts: config turns it into what is meant.
    (
        "config",
        &[
            "cli::args",
            "net",
            "policy",
            "tls",
            "dns",
            "audit",
            "approve",
            "proxy",
            "jail",
            "logging",
        ],
    ),
    ("cli", ALL),
    ("main", ALL),
];
const ALL: &[&str] = &[
    "net", "sys", "policy", "tls", "dns", "audit", "approve", "proxy", "jail", "config", "logging", "failure", "weak",
    "cli",
];

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

/// Checks the whole repository.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let (mut findings, mut manifests) = (Vec::new(), Vec::new());
    for (path, text) in &files {
        findings.extend(leftovers(path, text));
        findings.extend(pages(path, text, &files));
        if path.ends_with(".rs") {
            findings.extend(imports(path, text));
            findings.extend(unsafe_code(path, text));
            if let Some(warning) = length(path, text) {
                eprintln!("warning: {warning}");
            }
        }
        if path.ends_with("Cargo.toml") {
            manifests.push((path, text));
        }
    }
    findings.extend(threats::check(&files)?);
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

/// Imports that the table does not allow.
fn imports(path: &str, text: &str) -> Vec<String> {
    let Some(module) = path.strip_prefix("httpjail/src/").map(module_of) else {
        return Vec::new();
    };
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{path}: `{module}` is not in the table of imports")];
    };
    let mut findings = Vec::new();
    for (number, import) in crate_paths(text) {
        let fits = |allowed: &str| {
            import == allowed || import.strip_prefix(allowed).is_some_and(|rest| rest.starts_with("::"))
        };
        if !fits(module) && !allowed.iter().copied().any(fits) {
            findings.push(format!("{path}:{number}: `{module}` may not import crate::{import}"));
        }
    }
    findings
}

/// `policy` for `policy/index.rs` and for `policy.rs`.
fn module_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// Every path after `crate::` with its line, braces written out.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line).to_owned() + "\n")
        .collect();
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `my_crate::` are others.
        if code[..at].ends_with(|before: char| before == '$' || before == '_' || before.is_alphanumeric()) {
            continue;
        }
        let line = code[..at].lines().count().max(1);
        let mut rest = &code[at + "crate::".len()..];
        let mut found = Vec::new();
        expand("", &mut rest, &mut found);
        paths.extend(found.into_iter().map(|path| (line, path)));
    }
    paths
}

/// Reads one use-tree from the front of `rest`.
fn expand(prefix: &str, rest: &mut &str, found: &mut Vec<String>) {
    *rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('{') {
        *rest = inner;
        loop {
            *rest = rest.trim_start().trim_start_matches(',').trim_start();
            match rest.chars().next() {
                None => return,
                Some('}') => {
                    *rest = &rest[1..];
                    return;
                }
                Some(_) => {
                    let before = rest.len();
                    expand(prefix, rest, found);
                    // `as name`, and whatever else is no path: on to the next comma or brace.
                    *rest = rest.trim_start_matches(|c| c != ',' && c != '}');
                    if rest.len() == before {
                        return;
                    }
                }
            }
        }
    }
    let end = rest
        .find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}::{name}")
    };
    *rest = after;
    match after.strip_prefix("::") {
        Some(more) => {
            *rest = more;
            expand(&path, rest, found);
        }
        None => found.push(path),
    }
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
