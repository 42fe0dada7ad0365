//! `cargo xtask lint`: all that can be said about the code without running it.

use anyhow::Result;

use crate::run::{cargo, have, quietly};
use crate::tidy::{self, Also};

/// Runs every check, and fails if any does.
pub(crate) fn run() -> Result<()> {
    quietly(&mut cargo(["fmt", "--all", "--check"]))?;
    quietly(&mut cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    let mut docs = cargo(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    quietly(docs.env("RUSTDOCFLAGS", "--deny warnings"))?;
    dependencies()?;
    tidy::run(Also::Nothing)
}

fn dependencies() -> Result<()> {
    if !have("cargo-deny") {
        eprintln!("warning: cargo-deny is not installed: licenses and sources were not checked");
        return Ok(());
    }
    quietly(&mut cargo([
        "deny",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    // The advisories live in a git repository that not every machine can reach.
    match quietly(&mut cargo(["deny", "--log-level", "error", "check", "advisories"])) {
        Err(error) if error.to_string().contains("fetch advisory database") => {
            eprintln!("warning: advisories were not checked: their database cannot be fetched from here");
            Ok(())
        }
        checked => checked.map(drop),
    }
}
