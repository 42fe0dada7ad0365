//! Building the BPF object, and proving that the committed one is what the source says.
//!
//! The object is committed so that installing needs neither nightly nor bpf-linker. A committed binary in a security tool is
//! only as good as the check that it comes from the source beside it: the build is reproducible (no path of the machine gets
//! in, every version is pinned), and `--check` compares bytes.

use crate::run::quietly;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "httpjail/prebuilt/httpjail.bpf.o";
const TOOLCHAIN: &str = "httpjail/prebuilt/TOOLCHAIN";

/// `cargo xtask ebpf`: rebuilds the committed object. With `check`, compares instead of writing. With `trace`, builds one
/// that logs each refusal, into the target folder.
pub(crate) fn run(check: bool, trace: bool) -> Result<()> {
    let root = root()?;
    let toolchain = toolchain()?;
    if trace {
        ensure!(
            !check,
            "--check and --trace exclude each other: only the object without tracing is committed"
        );
        let path = root.join("target/ebpf/httpjail-trace.bpf.o");
        write(
            &path,
            &build(&root, &root.join("httpjail-ebpf/target"), "httpjail", Some("trace"))?,
        )?;
        println!("{} (use it with HTTPJAIL_BPF_OBJECT)", path.display());
        return Ok(());
    }
    if check {
        return compare(&root, &toolchain);
    }
    let object = build(&root, &root.join("httpjail-ebpf/target"), "httpjail", None)?;
    write(&root.join(OBJECT), &object)?;
    write(&root.join(TOOLCHAIN), toolchain.as_bytes())?;
    println!("{OBJECT}: {} bytes", object.len());
    Ok(())
}

/// Builds the object that allows everything, for the demo to show what happens without the jail. Returns its path.
pub(crate) fn allow_all() -> Result<PathBuf> {
    let root = root()?;
    let path = root.join("target/ebpf/allow-all.bpf.o");
    write(
        &path,
        &build(
            &root,
            &root.join("httpjail-ebpf/target"),
            "allow-all",
            Some("allow-all"),
        )?,
    )?;
    Ok(path)
}

/// From nothing, in a folder of its own: what an old target folder holds must not matter.
fn compare(root: &Path, toolchain: &str) -> Result<()> {
    let scratch = root.join(format!("target/ebpf-check-{}", std::process::id()));
    let built = build(root, &scratch, "httpjail", None);
    let removed = fs::remove_dir_all(&scratch);
    let built = built?;
    removed.with_context(|| format!("remove {}", scratch.display()))?;

    let committed = fs::read(root.join(OBJECT)).with_context(|| format!("read {OBJECT}"))?;
    if committed == built {
        println!("{OBJECT} is what httpjail-ebpf builds to ({} bytes)", built.len());
        return Ok(());
    }
    let made_with = fs::read_to_string(root.join(TOOLCHAIN)).with_context(|| format!("read {TOOLCHAIN}"))?;
    if made_with != toolchain {
        bail!(
            "{OBJECT} was made with\n{made_with}and this machine has\n{toolchain}Install that toolchain, or rebuild with `cargo xtask ebpf`."
        );
    }
    let first = committed
        .iter()
        .zip(&built)
        .position(|(a, b)| a != b)
        .unwrap_or(committed.len().min(built.len()));
    bail!(
        "{OBJECT} ({} bytes) is not what httpjail-ebpf builds to ({} bytes); the first difference is at byte {first}. \
         If the source changed, run `cargo xtask ebpf` and commit the result.",
        committed.len(),
        built.len()
    );
}

fn build(root: &Path, target_dir: &Path, bin: &str, feature: Option<&str>) -> Result<Vec<u8>> {
    let sysroot = output(nightly("rustc").args(["--print", "sysroot"]))?;
    let cargo_home = cargo_home()?;
    // Type information comes from debug information, and both know where files lay: say it the same way everywhere.
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Has LLVM copy and clear in place. By default it calls functions that loop over single bytes, and the verifier follows
        // each round.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        // aya takes the bindings of the machine that builds unless told; the programs use nothing that differs between them.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        format!("--remap-path-prefix={}=/httpjail", root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
        format!("--remap-path-prefix={sysroot}=/rust"),
    ];
    let mut cargo = nightly("cargo");
    cargo
        .current_dir(root.join("httpjail-ebpf"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_TARGET_DIR", target_dir)
        .args([
            "build",
            "--release",
            "--locked",
            "-Zbuild-std=core",
            "--target",
            TARGET,
            "--bin",
            bin,
        ]);
    if let Some(feature) = feature {
        cargo.args(["--features", feature]);
    }
    quietly(&mut cargo)
        .with_context(|| format!("build {bin} for {TARGET} (is the toolchain there? `cargo xtask setup`)"))?;

    let linked = target_dir.join(TARGET).join("release").join(bin);
    strip(Path::new(&sysroot), &linked)
}

/// Leaves out what no loader reads: debug information, and the source lines of each instruction. `.BTF` stays: socket
/// storage maps need it.
fn strip(sysroot: &Path, linked: &Path) -> Result<Vec<u8>> {
    let host = output(nightly("rustc").args(["--print", "host-tuple"]))?;
    let objcopy = sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy");
    let stripped = linked.with_extension("stripped");
    // Through rustup, which says where the toolchain's libraries are.
    let status = nightly(&objcopy)
        .args([
            "--strip-debug",
            "--remove-section=.BTF.ext",
            "--remove-section=.rel.BTF.ext",
        ])
        .args([linked, &stripped])
        .status()
        .with_context(|| format!("run {}", objcopy.display()))?;
    ensure!(status.success(), "stripping {} failed", linked.display());
    let object = fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))?;
    ensure!(
        !contains(&object, root()?.as_os_str().as_encoded_bytes()),
        "the object names a folder of this machine"
    );
    Ok(object)
}

/// The versions that decide the object's bytes.
fn toolchain() -> Result<String> {
    let rustc = output(nightly("rustc").arg("--version"))?;
    let linker = output(Command::new("bpf-linker").arg("--version"))
        .context("bpf-linker is missing (`cargo xtask setup`, or `cargo +nightly install bpf-linker`)")?;
    Ok(format!("{rustc}\n{linker}\n"))
}

/// A tool of the nightly toolchain, free of what the stable cargo that runs us has put into the environment.
pub(crate) fn nightly(tool: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).arg(tool);
    for name in [
        "CARGO",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(name);
    }
    // Profiles can be changed from the environment, and would change the bytes.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_ENCODED_"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(path) => Ok(path.into()),
        None => Ok(std::env::home_dir().context("no home folder")?.join(".cargo")),
    }
}

fn root() -> Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask.parent().context("xtask lies in the workspace")?.to_owned())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
