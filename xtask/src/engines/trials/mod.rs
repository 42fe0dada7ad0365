//! The rows: what a container must and must not be able to do.
//!
//! Each is decided by the lab's origin and its wire, and each "must not" has its twin without httpjail.

mod attached;
mod clients;
mod life;
mod limits;
mod networks;
mod own;

use anyhow::{Result, ensure};
use httpjail_lab::{JailBuilder, Lab};

use super::cli::{Engine, Kind};
use super::host::{BROKEN, OK, OPEN};
use super::rows::Rows;
use crate::suites::table::Table;

/// Sends `canary` in a frame of its own making, past every socket of IP.
const FRAME: &str = "import socket as k,sys\ns=k.socket(17,3)\ns.bind(('eth0',0))\ns.send(b'\\xff'*6+b'\\2'*6+b'\\x88\\xb5'+sys.argv[1].encode())";
const DATAGRAM: &str = "import socket as k,sys\nk.socket(2,2).sendto(sys.argv[1].encode(),('198.51.100.2',9999))";
const STREAM: &str = "import socket as k,sys\ns=k.create_connection(('198.51.100.2',9999),5)\ns.sendall(sys.argv[1].encode())\ns.recv(1)";

/// Some rows; an error is a row too.
type Stage<'host> = fn(&mut Trials<'host>) -> Result<()>;

/// What the trials have in common.
struct Trials<'host> {
    engine: &'host Engine<'host>,
    lab: &'host Lab,
    rows: Rows<'host>,
}

/// Runs all of them.
pub(crate) fn run<'host>(engine: &'host Engine<'host>) -> Result<Table> {
    let lab = engine.host().lab();
    install(engine)?;
    let mut trials = Trials {
        engine,
        lab,
        rows: Rows::new(engine.kind().name(), lab),
    };
    trials.without();
    if engine.kind() == Kind::Rootless {
        trials.refused("a rootless container", &[], &["true"], "root");
        if let Err(error) = trials.own() {
            trials.rows.fault("attached by its user", &error);
        }
        return Ok(trials.rows.table());
    }
    trials.denials();
    trials.firsts();
    let stages: [(&str, Stage<'host>); 7] = [
        ("clients", Trials::clients),
        ("lives", Trials::lives),
        ("killed", Trials::killed),
        ("policies", Trials::policies),
        ("networks", Trials::networks),
        ("neighbors", Trials::neighbors),
        ("attached", Trials::attached),
    ];
    for (name, stage) in stages {
        if let Err(error) = stage(&mut trials) {
            trials.rows.fault(name, &error);
        }
    }
    Ok(trials.rows.table())
}

/// Puts httpjail and root's policies on the host, and its runtimes into the engine's configuration.
fn install(engine: &Engine<'_>) -> Result<()> {
    let kind = if engine.kind() == Kind::Docker {
        "docker"
    } else {
        "podman"
    };
    engine.host().install()?;
    let line = [
        "httpjail", "runtime", "install", kind, "--policy", OK, "--policy", OPEN, "--policy", BROKEN,
    ];
    let outcome = engine.host().command(&line).run();
    ensure!(outcome.code() == Some(0), "name httpjail to {kind}: {}", outcome.stderr);
    engine.reload()
}

impl<'host> Trials<'host> {
    /// A container under `policy`; under no policy of a name with `None`.
    fn held<S: AsRef<str>>(&self, policy: Option<&str>, options: &[&str], command: &[S]) -> JailBuilder<'host> {
        let runtime = policy.map_or("httpjail".to_owned(), |policy| format!("httpjail-{policy}"));
        self.engine.start_container(Some(&runtime), options, command)
    }

    /// The engine says why it does not start it.
    fn refused(&mut self, what: &str, options: &[&str], command: &[&str], why: &str) {
        let outcome = self.held(Some(OK), options, command).run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let good = outcome.code() != Some(0) && said.contains("httpjail") && said.contains(why);
        let line = said.lines().find(|line| line.contains("httpjail")).unwrap_or_default();
        self.rows.row(what, good, line.chars().take(90).collect(), &outcome);
    }
}
