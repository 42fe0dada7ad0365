//! What the suites need, from the registries' ordinary clients: Debian as root, PyPI and crates.io below `target/`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::{cargo, command, quietly, root};
use crate::setup;

/// What each program is called in Debian.
const DEBIAN: [(&str, &str); 8] = [
    ("apache2", "apache2"),
    ("go", "golang-go"),
    ("haproxy", "haproxy"),
    ("hexdump", "bsdextrautils"),
    ("nginx", "nginx-light"),
    ("npm", "npm"),
    ("slowhttptest", "slowhttptest"),
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
const SMUGGLEX: &str = "0.4.0";

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
    pub(crate) fn from_pypi(&self, program: &str) -> PathBuf {
        self.folder.join("venv/bin").join(program)
    }

    /// The client in Go, which is built here.
    pub(crate) fn go_client(&self) -> PathBuf {
        self.folder.join("go-client")
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
    if !tools.smugglex().is_file() {
        eprintln!("suites: smugglex");
        let (to, build) = (format!("{folder}/cargo"), format!("{folder}/build"));
        let version = ["install", "--locked", "smugglex", "--version", SMUGGLEX];
        quietly(cargo(version).args(["--root", &to, "--target-dir", &build]))?;
    }
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
