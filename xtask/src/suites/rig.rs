//! A lab with servers of others in its world: started there, waited for, and gone with it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::{JailBuilder, Lab, eventually};

use super::install::Tools;
use crate::run::root;

const PATIENCE: Duration = Duration::from_secs(60);
/// What makes a program that is not in a jail trust the world's authority.
const TRUST: [&str; 7] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
];

/// A lab and what was started in it.
pub(crate) struct Rig<'tools> {
    // Dropped first: the servers end before their namespace.
    servers: Vec<Server>,
    pub(crate) lab: Lab,
    pub(crate) tools: &'tools Tools,
}

struct Server {
    child: Child,
}

impl<'tools> Rig<'tools> {
    /// Raises a lab around the httpjail that was just built.
    pub(crate) fn raise(tools: &'tools Tools) -> Result<Self> {
        let binary = std::env::var_os("HTTPJAIL_TEST_BINARY").map(PathBuf::from);
        let lab = Lab::start(&binary.unwrap_or(root().join("target/debug/httpjail")))?;
        Ok(Rig {
            servers: Vec::new(),
            lab,
            tools,
        })
    }

    /// Starts a server in the world and waits until something accepts at `port`. What it prints goes to the file whose
    /// path is given back.
    pub(crate) fn serve(&mut self, command: &mut Command, port: u16) -> Result<PathBuf> {
        let output = self.lab.fresh_path("server");
        let file = File::create(&output).context("create a server's output")?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share a server's output")?)
            .stderr(file)
            .env("HTTPJAIL_LAB", self.lab.dir())
            .current_dir(self.lab.dir());
        let child = self
            .lab
            .on_world(|| command.spawn().with_context(|| format!("start {command:?}")))?;
        self.servers.push(Server { child });
        let up = self.lab.on_world(|| {
            Ok(eventually(PATIENCE, || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            }))
        })?;
        ensure!(
            up,
            "nothing listens at port {port}: {}",
            fs::read_to_string(&output).unwrap_or_default()
        );
        Ok(output)
    }

    /// A helper script of the repository, to be run by the virtual environment's python.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.python());
        command.arg(self.tools.script(name));
        command
    }

    /// The same as the words of a jail's command.
    pub(crate) fn words(&self, name: &str, arguments: &[&str]) -> Vec<String> {
        let show = |path: &Path| path.display().to_string();
        let mut words = vec![show(&self.tools.python()), show(&self.tools.script(name))];
        words.extend(arguments.iter().map(ToString::to_string));
        words
    }

    /// A run without a jail, which trusts the world.
    pub(crate) fn unjailed(&self) -> JailBuilder<'_> {
        let ca = self.lab.upstream_ca();
        TRUST
            .iter()
            .fold(self.lab.unjailed(), |run, variable| run.env(variable, &ca))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended by itself, or killed here: reaped either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
