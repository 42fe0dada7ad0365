//! `cargo xtask package`: installs the tool from what would be published, away from the repository, and tries it.
//!
//! A file that the package forgets (the BPF object, say) is missed here and not first by a user.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::run::{cargo, command, quietly, root};

/// What is published, in the order in which it would be.
const CRATES: [&str; 2] = ["httpjail-common", "httpjail"];

/// Packs, unpacks elsewhere, installs from there, and runs `true` in a jail.
pub(crate) fn run() -> Result<()> {
    let place = tempfile::tempdir().context("make a folder for the package")?;
    let version = env!("CARGO_PKG_VERSION");
    let unpacked = |name: &str| place.path().join(format!("{name}-{version}"));

    // All at once: httpjail needs an httpjail-common that no registry has yet.
    let mut pack = cargo(["package", "--quiet", "--no-verify", "--allow-dirty"]);
    quietly(pack.args(CRATES.map(|name| format!("--package={name}"))))?;
    for name in CRATES {
        let packed = root().join(format!("target/package/{name}-{version}.crate"));
        quietly(command("tar", ["-xzf"]).arg(packed).arg("-C").arg(place.path()))?;
    }

    // The workspace's lock, profile and target folder, so that what the tests were built with is used again.
    fs::copy(root().join("Cargo.lock"), unpacked("httpjail").join("Cargo.lock")).context("copy the lock")?;
    let mut install = cargo(["install", "--quiet", "--debug", "--no-track", "--path"]);
    install
        .arg(unpacked("httpjail"))
        .arg("--root")
        .arg(place.path())
        .arg("--target-dir")
        .arg(root().join("target"));
    for config in [
        &format!("patch.crates-io.httpjail-common.path={:?}", unpacked("httpjail-common")),
        r#"profile.dev.debug="line-tables-only""#,
        r#"profile.dev.package."*".opt-level=1"#,
        r#"profile.dev.package."*".debug=false"#,
    ] {
        install.args(["--config", config]);
    }
    quietly(&mut install)?;

    let tool = place.path().join("bin/httpjail");
    let tool = tool.to_str().context("a folder's name in UTF-8")?;
    let shown = quietly(&mut command(tool, ["--version"]))?;
    ensure!(
        String::from_utf8_lossy(&shown.stdout).contains(version),
        "the installed tool does not know its version"
    );
    quietly(&mut command(tool, ["-r", "deny: .*", "--", "true"])).context("run `true` in a jail")?;
    Ok(())
}
