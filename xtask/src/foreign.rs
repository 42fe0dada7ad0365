//! `cargo xtask check-foreign`: the other systems, as far as they can be had on Linux.
//!
//! Builds and links the executables for macOS and Windows, and runs the Windows one under wine: an allowed request, a
//! denied one, exit status, time-out. What is needed for that (ziglang and cargo-zigbuild from PyPI, wine from Debian) is
//! installed when this runs and not by setup: it is large. The linker for macOS has no frameworks here; it gets a list of
//! the symbols that are used of them, which is all that it would look at.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::ebpf::nightly;
use crate::run::{command, have, quietly, root};

const TARGETS: [&str; 3] = ["aarch64-apple-darwin", "x86_64-apple-darwin", "x86_64-pc-windows-gnu"];

/// What the executable for macOS uses of Apple's frameworks, by way of rustls-native-certs.
const FRAMEWORKS: [(&str, &[&str]); 2] = [
    (
        "CoreFoundation",
        &[
            "CFArrayCreate",
            "CFArrayGetCount",
            "CFArrayGetValueAtIndex",
            "CFDataGetBytePtr",
            "CFDataGetLength",
            "CFDictionaryGetValueIfPresent",
            "CFEqual",
            "CFNumberGetValue",
            "CFRelease",
            "CFRetain",
            "CFStringCreateWithBytesNoCopy",
            "CFStringGetBytes",
            "CFStringGetCStringPtr",
            "CFStringGetLength",
            "kCFAllocatorDefault",
            "kCFAllocatorNull",
            "kCFTypeArrayCallBacks",
        ],
    ),
    (
        "Security",
        &[
            "SecCertificateCopyData",
            "SecCopyErrorMessageString",
            "SecTrustSettingsCopyCertificates",
            "SecTrustSettingsCopyTrustSettings",
        ],
    ),
];

/// Builds, links and tries.
pub(crate) fn run() -> Result<()> {
    let tools = Tools::install()?;
    for target in TARGETS {
        let start = Instant::now();
        let executable = tools.build(target)?;
        let size = fs::metadata(&executable).context("look at the executable")?.len();
        println!(
            "check-foreign: {} ({} MiB, {} s)",
            executable.strip_prefix(root()).unwrap_or(&executable).display(),
            size >> 20,
            start.elapsed().as_secs()
        );
    }
    Wine::new(&tools)?.try_all()
}

/// The compilers for other systems, in a folder of their own.
struct Tools {
    folder: PathBuf,
}

impl Tools {
    fn install() -> Result<Tools> {
        let folder = root().join("target/foreign");
        let tools = Tools { folder };
        if !tools.program("cargo-zigbuild").exists() {
            eprintln!("check-foreign: ziglang, cargo-zigbuild");
            let folder = tools.folder.join("venv");
            quietly(command("python3", ["-m", "venv"]).arg(&folder))?;
            let pip = tools.program("pip");
            quietly(Command::new(pip).args(["install", "--quiet", "ziglang", "cargo-zigbuild"]))?;
        }
        if !have("wine") {
            eprintln!("check-foreign: wine");
            let line = ["install", "--yes", "--no-install-recommends", "wine", "wine64"];
            quietly(command("apt-get", line).env("DEBIAN_FRONTEND", "noninteractive")).context("install wine")?;
        }
        tools.write_sdk()?;
        Ok(tools)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join("venv/bin").join(name)
    }

    fn sdk(&self) -> PathBuf {
        self.folder.join("sdk")
    }

    /// Text stubs of the frameworks (`man tapi`): names, no code.
    fn write_sdk(&self) -> Result<()> {
        fs::create_dir_all(self.sdk().join("usr/lib")).context("make the stub SDK")?;
        for (name, symbols) in FRAMEWORKS {
            let folder = self.sdk().join(format!("System/Library/Frameworks/{name}.framework"));
            fs::create_dir_all(&folder).context("make the stub SDK")?;
            let symbols: Vec<String> = symbols.iter().map(|symbol| format!("_{symbol}")).collect();
            let targets = "[ x86_64-macos, arm64-macos ]";
            let text = format!(
                "--- !tapi-tbd\ntbd-version: 4\ntargets: {targets}\n\
                 install-name: /System/Library/Frameworks/{name}.framework/Versions/A/{name}\n\
                 exports:\n  - targets: {targets}\n    symbols: [ {} ]\n...\n",
                symbols.join(", ")
            );
            fs::write(folder.join(format!("{name}.tbd")), text).context("write the stub SDK")?;
        }
        Ok(())
    }

    fn build(&self, target: &str) -> Result<PathBuf> {
        let out = self.folder.join("build");
        let path = std::env::join_paths(
            std::iter::once(self.folder.join("venv/bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )?;
        let mut build = nightly("cargo");
        build.args(["zigbuild", "-Zbuild-std", "--package", "httpjail", "--bin", "httpjail"]);
        build.args(["--target", target, "--target-dir"]).arg(&out);
        build.env("PATH", path).current_dir(root());
        if target.ends_with("darwin") {
            build.env("SDKROOT", self.sdk());
        }
        quietly(&mut build).with_context(|| format!("build for {target}"))?;
        let name = if target.contains("windows") {
            "httpjail.exe"
        } else {
            "httpjail"
        };
        Ok(out.join(target).join("debug").join(name))
    }

    /// Compiles one of our files of C for Windows.
    fn compile(&self, source: &str, out: &Path, more: &[&str]) -> Result<()> {
        let mut cc = Command::new(self.program("python"));
        cc.args(["-m", "ziglang", "cc", "-target", "x86_64-windows-gnu", "-O1", "-o"])
            .arg(out);
        cc.arg(root().join("xtask/foreign").join(source)).args(more);
        quietly(&mut cc).with_context(|| format!("compile {source}"))?;
        Ok(())
    }
}

/// The Windows executable under wine, and what it is to fetch.
struct Wine {
    folder: PathBuf,
    executable: PathBuf,
    origin: String,
}

impl Wine {
    fn new(tools: &Tools) -> Result<Wine> {
        let folder = tools.folder.join("build/x86_64-pc-windows-gnu/debug");
        tools.compile(
            "bcryptprimitives.c",
            &folder.join("bcryptprimitives.dll"),
            &["-shared", "-ladvapi32"],
        )?;
        tools.compile("client.c", &folder.join("client.exe"), &["-lws2_32"])?;
        Ok(Wine {
            executable: folder.join("httpjail.exe"),
            folder,
            origin: origin()?,
        })
    }

    fn try_all(&self) -> Result<()> {
        let (origin, rule) = (
            &self.origin,
            format!("allow-get: ^http://{}/", self.origin.replace('.', "\\.")),
        );
        let allowed = format!("http://{origin}/a");
        let denied = format!("http://{origin}/no");
        // The server would answer both with 200.
        let get = |url: &str| self.run(&["--weak", "-r", "deny: /no$", "-r", &rule, "--", "client.exe", url]);
        check("allowed", &get(&allowed)?, 0, "200", "weak mode")?;
        check("denied", &get(&denied)?, 0, "403", "denied GET")?;
        check(
            "exit status",
            &self.run(&["--", "cmd", "/c", "exit 7"])?,
            7,
            "",
            "weak mode",
        )?;
        let late = self.run(&[
            "--timeout",
            "1",
            "--",
            "cmd",
            "/c",
            "ping -n 120 127.0.0.1 >nul & echo over",
        ])?;
        check("time-out", &late, 124, "", "--timeout")?;
        check(
            "not found",
            &self.run(&["--", "no-such-command"])?,
            127,
            "",
            "no-such-command",
        )?;
        check(
            "no jail here",
            &self.run(&["--backend", "ebpf", "--", "cmd"])?,
            125,
            "",
            "needs Linux",
        )?;
        Ok(())
    }

    fn run(&self, line: &[&str]) -> Result<Output> {
        let mut wine = Command::new("wine");
        wine.arg(&self.executable).args(line).current_dir(&self.folder);
        wine.env("WINEPREFIX", self.folder.join("wine"))
            .env("WINEDEBUG", "-all");
        wine.env("CLIENT_HOST", &self.origin);
        let output = wine.output().context("start wine")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(Output {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        })
    }
}

#[derive(Debug)]
struct Output {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn check(what: &str, output: &Output, status: i32, stdout: &str, said: &str) -> Result<()> {
    let right = output.status == Some(status) && output.stdout == stdout && output.stderr.contains(said);
    ensure!(
        right,
        "{what}: expected status {status} and `{stdout}`, got {output:#?}"
    );
    println!("check-foreign: wine: {what}: status {status} {stdout}");
    Ok(())
}

/// A server on loopback that answers everything with 200; it lives as long as this process.
fn origin() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let address = listener.local_addr().context("see the port")?.to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            // A client that hangs up is its own business.
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    Ok(address)
}
