//! Running other programs: from the repository's root, quietly, with the end of what they said when they fail.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

const TAIL: usize = 60;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository")
}

/// A program, to be started in the repository's root.
pub(crate) fn command<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// `cargo`, the one that runs us.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    command(&env::var("CARGO").unwrap_or_else(|_| "cargo".into()), arguments)
}

/// The httpjail to try: the one that HTTPJAIL_TEST_BINARY names, or that of this tree, which is built.
pub(crate) fn httpjail() -> Result<PathBuf> {
    if let Some(named) = env::var_os("HTTPJAIL_TEST_BINARY") {
        return Ok(named.into());
    }
    quietly(&mut cargo([
        "build",
        "--quiet",
        "--package",
        "httpjail",
        "--bin",
        "httpjail",
    ]))?;
    Ok(root().join("target/debug/httpjail"))
}

/// Runs to the end; the output only in the error.
pub(crate) fn quietly(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("start {}", show(command)))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(TAIL)..)
        .unwrap_or_default()
        .join("\n");
    bail!("{} failed ({}):\n{tail}", show(command), output.status)
}

/// Runs to the end with our own output.
pub(crate) fn aloud(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", show(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", show(command));
    }
    Ok(())
}

/// Whether `program` is in PATH.
pub(crate) fn have(program: &str) -> bool {
    find(program).is_some()
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
