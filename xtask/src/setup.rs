//! `cargo xtask setup`: installs what this machine lacks. Running it again does nothing and says nothing.

use anyhow::{Context as _, Result};

use crate::run::{aloud, cargo, command, have, quietly, root};

/// What each program that the tests drive is called in Debian.
const PROGRAMS: [(&str, &str); 22] = [
    ("bwrap", "bubblewrap"),
    ("c++", "g++"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("fish", "fish"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("java", "default-jdk-headless"),
    ("keytool", "default-jdk-headless"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("runc", "runc"),
    ("setpriv", "util-linux"),
    ("slirp4netns", "slirp4netns"),
    ("strace", "strace"),
    ("sudo", "sudo"),
    ("tcpdump", "tcpdump"),
    ("tmux", "tmux"),
    ("wget", "wget"),
    ("zsh", "zsh"),
];

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    debian_packages(&PROGRAMS)?;
    for tool in ["cargo-nextest", "cargo-deny", "cargo-fuzz"] {
        if !have(tool) {
            eprintln!("setup: {tool}");
            quietly(&mut cargo(["install", "--locked", tool]))?;
        }
    }
    bpf_toolchain()
}

/// Installs the packages of those programs that are missing.
pub(crate) fn debian_packages(programs: &[(&str, &'static str)]) -> Result<()> {
    let mut missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !have(program))
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !have("apt-get") || !is_root() {
        eprintln!(
            "warning: not installed: {} (as root on Debian, setup would install them)",
            missing.join(", ")
        );
        return Ok(());
    }
    eprintln!("setup: {}", missing.join(", "));
    let install = |packages: &[&str]| {
        let mut line = vec!["install", "--yes", "--no-install-recommends"];
        line.extend(packages);
        quietly(command("apt-get", line).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install(&missing).is_err() {
        // Perhaps only the package lists are old.
        quietly(&mut command("apt-get", ["update"]))?;
        install(&missing)?;
    }
    Ok(())
}

/// Nightly's library source and bpf-linker, for `cargo xtask ebpf`.
fn bpf_toolchain() -> Result<()> {
    let given = root()
        .parent()
        .map(|folder| folder.join("shared/toolchain/install-ebpf-toolchain"));
    if let Some(script) = given.filter(|script| script.is_file()) {
        quietly(&mut command("bash", [script])).context("install the BPF toolchain")?;
        return Ok(());
    }
    let sysroot = quietly(&mut command("rustc", ["+nightly", "--print", "sysroot"])).context("find nightly Rust")?;
    let source = format!(
        "{}/lib/rustlib/src/rust/library/Cargo.lock",
        String::from_utf8_lossy(&sysroot.stdout).trim()
    );
    if !std::path::Path::new(&source).is_file() {
        aloud(&mut command(
            "rustup",
            ["component", "add", "rust-src", "--toolchain", "nightly"],
        ))?;
    }
    if !have("bpf-linker") {
        eprintln!("setup: bpf-linker");
        quietly(&mut command("cargo", ["+nightly", "install", "--locked", "bpf-linker"]))?;
    }
    Ok(())
}

fn is_root() -> bool {
    command("id", ["-u"])
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
