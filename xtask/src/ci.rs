//! `cargo xtask ci`: everything that a change must pass. One line a step; the end of the output only on failure.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::run::{cargo, command, quietly, root};
use crate::{ebpf, lint, setup, test};

/// A task of its own.
type Step = fn() -> Result<()>;

/// Runs all steps, and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let steps: [(&str, Step); 5] = [
        ("setup", setup::run),
        ("lint", lint::run),
        ("ebpf", || ebpf::run(true, false)),
        ("test", tests),
        ("package", package),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        step().with_context(|| format!("step {name} failed"))?;
        println!("ci: {name} ok ({} s)", start.elapsed().as_secs());
    }
    Ok(())
}

fn tests() -> Result<()> {
    let output = quietly(test::runner().env("HTTPJAIL_TEST_REQUIRE", "1"))?;
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    for line in said
        .lines()
        .filter(|line| line.contains("Summary [") || line.starts_with("test result:"))
    {
        println!("{}", line.trim());
    }
    Ok(())
}

/// Installs the tool from what would be published, somewhere else, and runs it.
fn package() -> Result<()> {
    let place = tempfile::tempdir().context("make a folder for the package")?;
    let crates = ["httpjail-common", "httpjail"];
    let version = env!("CARGO_PKG_VERSION");
    quietly(
        cargo(["package", "--quiet", "--no-verify", "--allow-dirty"]).args(crates.map(|name| format!("-p{name}"))),
    )?;
    for name in crates {
        let packed = root().join(format!("target/package/{name}-{version}.crate"));
        quietly(command("tar", ["-xzf"]).arg(packed).arg("-C").arg(place.path()))?;
    }
    let unpacked = |name: &str| place.path().join(format!("{name}-{version}"));
    // The workspace's profile and lock, so that the dependencies that the tests were built with are used again.
    fs::copy(root().join("Cargo.lock"), unpacked("httpjail").join("Cargo.lock")).context("copy the lock")?;
    let patch = format!("patch.crates-io.httpjail-common.path={:?}", unpacked("httpjail-common"));
    let mut install = cargo(["install", "--quiet", "--debug", "--no-track", "--path"]);
    install
        .arg(unpacked("httpjail"))
        .arg("--root")
        .arg(place.path())
        .arg("--target-dir")
        .arg(root().join("target"));
    for config in [
        patch.as_str(),
        r#"profile.dev.package."*".opt-level=1"#,
        r#"profile.dev.package."*".debug=false"#,
    ] {
        install.args(["--config", config]);
    }
    quietly(&mut install)?;

    let tool = place.path().join("bin/httpjail");
    let shown = quietly(&mut on(&tool, ["--version"]))?;
    ensure!(
        String::from_utf8_lossy(&shown.stdout).contains(version),
        "the installed tool does not know its version"
    );
    quietly(&mut on(&tool, ["-r", "deny: .*", "--", "true"])).context("run `true` in a jail")?;
    Ok(())
}

fn on<const N: usize>(tool: &Path, arguments: [&str; N]) -> std::process::Command {
    command(&tool.to_string_lossy(), arguments.map(OsString::from))
}
