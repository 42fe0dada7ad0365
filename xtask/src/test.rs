//! `cargo xtask test`: the tests, by nextest where it is installed (a process each, side by side), else by cargo.

use std::process::Command;

use anyhow::Result;

use crate::run::{aloud, cargo, have};

/// Runs all tests.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    aloud(runner().args(arguments))?;
    match arguments {
        [] => aloud(&mut examples()),
        _ => Ok(()),
    }
}

/// The command that runs all tests.
pub(crate) fn runner() -> Command {
    if have("cargo-nextest") {
        cargo(["nextest", "run", "--workspace"])
    } else {
        cargo(["test", "--workspace"])
    }
}

/// The command that runs the examples in the documentation, which nextest leaves out.
pub(crate) fn examples() -> Command {
    cargo(["test", "--quiet", "--workspace", "--doc"])
}
