//! What the suites need, from the registries' ordinary clients: Debian as root, PyPI and crates.io below `target/`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::{cargo, command, quietly, root};
use crate::setup;

/// What each program is called in Debian.
const DEBIAN: [(&str, &str); 11] = [
    ("apache2", "apache2"),
    ("bwrap", "bubblewrap"),
    ("go", "golang-go"),
    ("haproxy", "haproxy"),
    ("hexdump", "bsdextrautils"),
    ("nginx", "nginx-light"),
    ("npm", "npm"),
    ("rg", "ripgrep"),
    ("slowhttptest", "slowhttptest"),
    ("socat", "socat"),
    ("testssl", "testssl.sh"),
];
const PYPI: [&str; 10] = [
    "aiohttp==3.14.5",
    "grpcio==1.85.1",
    "h2==4.4.1",
    "hpack==4.2.0",
    "httpx[http2]==0.28.1",
    "hyperframe==6.1.0",
    "kosoku==0.1.0",
    "requests==2.34.2",
    "sslyze==6.3.1",
    "websockets==17.4",
];
/// Not in the workspace: what it needs is nothing that httpjail is made of.
const TONIC: &str = r#"[package]
name = "grpc-client"
version = "0.0.0"
edition = "2024"

[[bin]]
name = "grpc-client"
path = "../../../tests/suites/grpc.rs"

[dependencies]
bytes = "1"
http = "1"
tokio = { version = "1", features = ["macros", "rt-multi-thread", "sync", "time"] }
tokio-stream = "0.1"
tonic = { version = "0.14", default-features = false, features = ["channel", "codegen", "tls-native-roots", "tls-ring"] }

[profile.dev]
debug = false

[workspace]
"#;
const SMUGGLEX: &str = "0.4.0";
const SANDBOX_RUNTIME: &str = "@anthropic-ai/sandbox-runtime@0.0.78";

/// Where things were installed.
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// The virtual environment's python.
    pub(crate) fn python(&self) -> PathBuf {
        self.folder.join("venv/bin/python")
    }

    /// A program of the virtual environment.
    pub(crate) fn pypi_program(&self, program: &str) -> PathBuf {
        self.folder.join("venv/bin").join(program)
    }

    /// The client in Go, which is built here.
    pub(crate) fn go_client(&self) -> PathBuf {
        self.folder.join("go-client")
    }

    /// The gRPC client in Rust, which is built here.
    pub(crate) fn tonic_client(&self) -> PathBuf {
        self.folder.join("build/debug/grpc-client")
    }

    /// The sandbox of coding agents, from npm.
    pub(crate) fn sandbox_runtime(&self) -> PathBuf {
        self.folder.join("npm/node_modules/.bin/srt")
    }

    /// The smuggling scanner.
    pub(crate) fn smugglex(&self) -> PathBuf {
        self.folder.join("cargo/bin/smugglex")
    }

    /// A helper script of the repository.
    pub(crate) fn script(&self, name: &str) -> PathBuf {
        root().join("tests/suites").join(name)
    }
}

/// Installs what is missing.
pub(crate) fn all() -> Result<Tools> {
    setup::debian_packages(&DEBIAN)?;
    let tools = Tools {
        folder: root().join("target/suites"),
    };
    let folder = tools.folder.to_str().context("a folder's name in UTF-8")?;
    let build = format!("{folder}/build");
    let mark = tools.folder.join("pypi.txt");
    let wanted = PYPI.join("\n");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        // Nothing new.
    } else {
        eprintln!("suites: {}", PYPI.join(" "));
        let venv = format!("{folder}/venv");
        quietly(&mut command("/usr/bin/python3", ["-m", "venv", &venv]))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        quietly(command(&format!("{venv}/bin/python"), pip).args(PYPI))?;
        std::fs::write(&mark, wanted).context("note what is installed")?;
    }
    if !tools.sandbox_runtime().exists() {
        eprintln!("suites: {SANDBOX_RUNTIME}");
        let to = format!("{folder}/npm");
        let install = ["install", "--no-audit", "--no-fund", "--prefix", &to, SANDBOX_RUNTIME];
        quietly(&mut command("npm", install))?;
    }
    if !tools.smugglex().is_file() {
        eprintln!("suites: smugglex");
        let to = format!("{folder}/cargo");
        let version = ["install", "--locked", "smugglex", "--version", SMUGGLEX];
        quietly(cargo(version).args(["--root", &to, "--target-dir", &build]))?;
    }
    let manifest = format!("{folder}/tonic/Cargo.toml");
    std::fs::create_dir_all(format!("{folder}/tonic")).context("make a folder for the gRPC client")?;
    std::fs::write(&manifest, TONIC).context("write the gRPC client's manifest")?;
    quietly(&mut cargo([
        "build",
        "--quiet",
        "--manifest-path",
        &manifest,
        "--target-dir",
        &build,
    ]))?;
    let (client, source, cache) = (
        tools.go_client(),
        tools.script("programs.go"),
        format!("{folder}/go-cache"),
    );
    quietly(
        command("go", ["build", "-o"])
            .args([client, source])
            // Nothing but the standard library is used, and nothing is to be asked of anybody.
            .envs([
                ("GO111MODULE", "off"),
                ("GOFLAGS", ""),
                ("GOPROXY", "off"),
                ("GOCACHE", &cache),
            ]),
    )?;
    Ok(tools)
}
