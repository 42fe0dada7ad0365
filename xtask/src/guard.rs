//! `cargo xtask guard`: how many instructions and allocations a request takes, counted and not timed.
//!
//! A clock tells little on a machine that others use; callgrind's counts are the same every time. The program itself is
//! counted, as `httpjail serve`; origin and client are outside of it. Each work is done in two runs, one with more requests
//! than the other, and the difference is what the requests alone took.

mod callgrind;
mod client;
mod h2;
mod origin;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::run::{cargo, command, quietly, root};
use crate::setup::debian_packages;
use callgrind::Counts;
use client::{Client, Protocol};
use origin::Origin;

const PROGRAMS: [(&str, &str); 1] = [("valgrind", "valgrind")];

/// How many requests the two runs make.
const FEW: u64 = 100;
const MANY: u64 = 600;

const WORKS: [(&str, Protocol); 3] = [
    ("h1 plain", Protocol::Plain),
    ("h1 TLS", Protocol::Tls),
    ("h2", Protocol::H2),
];

/// Measures `binary`, or what is built of this tree, and prints a table.
pub(crate) fn run(binary: Option<PathBuf>) -> Result<()> {
    debian_packages(&PROGRAMS)?;
    let binary = match binary {
        Some(binary) => binary,
        None => build()?,
    };
    let origin = Origin::start()?;
    println!("{:<10} {:>14} {:>14}", "request", "instructions", "allocations");
    let measure = |(name, protocol): &(&'static str, Protocol)| -> Result<(&'static str, f64, f64)> {
        let few = requests(&binary, &origin, *protocol, FEW, None)?;
        let kept = root().join(format!("target/guard/{}.out", name.replace(' ', "-")));
        let many = requests(&binary, &origin, *protocol, MANY, Some(&kept))?;
        let each = |few: u64, many: u64| (many as f64 - few as f64) / (MANY - FEW) as f64;
        Ok((
            name,
            each(few.instructions, many.instructions),
            each(few.allocations, many.allocations),
        ))
    };
    fs::create_dir_all(root().join("target/guard")).context("make target/guard")?;
    for work in &WORKS {
        let (name, instructions, allocations) = measure(work).with_context(|| work.0.to_owned())?;
        println!("{name:<10} {instructions:>14.0} {allocations:>14.1}");
    }
    println!("each function: callgrind_annotate target/guard/h1-TLS.out (of {MANY} requests, and the start)");
    Ok(())
}

/// Builds httpjail with optimizations and the names of functions. Without link-time optimization, which takes minutes.
fn build() -> Result<PathBuf> {
    let target = root().join("target/guard");
    let mut build = cargo(["build", "--quiet", "--release", "--package=httpjail", "--bin=httpjail"]);
    for config in [
        "lto=false",
        "codegen-units=16",
        r#"strip="none""#,
        r#"debug="line-tables-only""#,
    ] {
        build.args(["--config", &format!("profile.release.{config}")]);
    }
    quietly(build.arg("--target-dir").arg(&target))?;
    Ok(target.join("release/httpjail"))
}

/// Counts a whole run of the proxy that serves so many requests. Leaves callgrind's file at `kept`.
fn requests(binary: &Path, origin: &Origin, protocol: Protocol, count: u64, kept: Option<&Path>) -> Result<Counts> {
    let home = tempfile::tempdir().context("make a directory")?;
    let (trusted, out) = (home.path().join("origin.pem"), home.path().join("callgrind.out"));
    fs::write(&trusted, &origin.certificate).context("write the origin's certificate")?;
    let mut proxy = Proxy::start(binary, home.path(), &trusted, &out)?;
    let port = match protocol {
        Protocol::Plain => origin.plain.port(),
        Protocol::Tls | Protocol::H2 => origin.tls.port(),
    };
    let client = proxy.client(port)?;
    client.request(protocol, count)?;
    proxy.end()?;
    if let Some(kept) = kept {
        fs::copy(&out, kept).with_context(|| format!("write {}", kept.display()))?;
    }
    callgrind::read(&out)
}

/// `httpjail serve` under callgrind.
struct Proxy {
    child: Child,
    said: BufReader<ChildStdout>,
    authority: PathBuf,
}

impl Proxy {
    fn start(binary: &Path, home: &Path, trusted: &Path, out: &Path) -> Result<Proxy> {
        let serve = ["serve", "--auth", "none", "--listen", "127.0.0.1:0", "-r"];
        let mut command = callgrind::callgrind(binary, out);
        command
            .args(serve)
            .arg(r"allow: ^https?://localhost(:\d+)?/")
            .arg("--upstream-ca")
            .arg(trusted)
            .arg("--quiet")
            .env("HOME", home)
            .env_remove("XDG_CONFIG_HOME")
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("start valgrind")?;
        let said = BufReader::new(child.stdout.take().context("the proxy's output")?);
        Ok(Proxy {
            child,
            said,
            authority: home.join(".config/httpjail/weak/ca.crt"),
        })
    }

    fn client(&mut self, port: u16) -> Result<Client> {
        let mut url = String::new();
        self.said.read_line(&mut url).context("read the proxy's URL")?;
        let address = url.trim().trim_start_matches("http://").trim_end_matches('/');
        Ok(Client {
            proxy: address.parse().with_context(|| format!("the proxy's URL {url:?}"))?,
            port,
            authority: fs::read(&self.authority).context("read the proxy's authority")?,
        })
    }

    /// Asks it to end, and waits.
    fn end(mut self) -> Result<()> {
        quietly(&mut command("kill", [self.child.id().to_string()]))?;
        let status = self.child.wait().context("wait for the proxy")?;
        ensure!(status.success(), "the proxy ended with {status}");
        Ok(())
    }
}
