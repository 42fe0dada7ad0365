//! httpjail under callgrind: a proxy that serves.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::callgrind;
use super::client::Client;
use crate::run::{command, quietly};

/// `httpjail serve`.
pub(super) struct Proxy {
    child: Child,
    said: BufReader<ChildStdout>,
    home: PathBuf,
}

impl Proxy {
    /// Starts it; what it counts is written into `out` when it ends. It trusts the certificate in `trusted`.
    pub(super) fn start(binary: &Path, home: &Path, trusted: &Path, out: &Path) -> Result<Proxy> {
        let complaints = fs::File::create(home.join("stderr")).context("make a file")?;
        let mut command = counted(binary, home, out);
        command
            .args(["serve", "--auth", "none", "--listen", "127.0.0.1:0", "--upstream-ca"])
            .arg(trusted)
            .args(["-r", r"allow: ^https?://localhost(:\d+)?/"])
            .stdout(Stdio::piped())
            .stderr(complaints);
        let mut child = command.spawn().context("start valgrind")?;
        let said = BufReader::new(child.stdout.take().context("the proxy's output")?);
        Ok(Proxy {
            child,
            said,
            home: home.to_owned(),
        })
    }

    /// Returns a client for it when it is ready.
    pub(super) fn client(&mut self) -> Result<Client> {
        let mut url = String::new();
        self.said.read_line(&mut url).context("read the proxy's URL")?;
        let address = url.trim().trim_start_matches("http://").trim_end_matches('/');
        let Ok(proxy) = address.parse() else {
            let complaints = fs::read_to_string(self.home.join("stderr")).unwrap_or_default();
            bail!("the proxy did not start: {complaints}");
        };
        let authority = self.home.join(".config/httpjail/weak/ca.crt");
        Ok(Client {
            proxy,
            authority: fs::read(authority).context("read the proxy's authority")?,
        })
    }

    /// Asks it to end, and waits.
    pub(super) fn end(mut self) -> Result<()> {
        self.ask_to_end()?;
        let status = self.child.wait().context("wait for the proxy")?;
        ensure!(status.success(), "the proxy ended with {status}");
        Ok(())
    }

    fn ask_to_end(&self) -> Result<()> {
        quietly(&mut command("kill", [self.child.id().to_string()])).map(drop)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has ended, unless something went wrong.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.ask_to_end();
            let _ = self.child.wait();
        }
    }
}

/// The same environment each time.
fn counted(binary: &Path, home: &Path, out: &Path) -> Command {
    let mut command = callgrind::callgrind(binary, out);
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        // A start looks through the directory of temporary files for what a killed run has left.
        .env("TMPDIR", home)
        // Which of several threads wakes up first would be chance.
        .env("TOKIO_WORKER_THREADS", "1");
    command
}
