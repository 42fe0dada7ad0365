//! The rows: what a container must and must not be able to do.
//!
//! Each is decided by the lab's origin and its wire, and each "must not" has its twin without httpjail.

mod clients;
mod life;
mod limits;

use anyhow::{Result, ensure};
use httpjail_lab::{JailBuilder, Lab, Outcome};

use super::cli::{Engine, Kind};
use crate::suites::table::Table;

/// The policy that lets something out.
const OK: &str = "ok";
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
    table: Table,
}

/// Runs all of them.
pub(crate) fn run<'host>(engine: &'host Engine<'host>) -> Result<Table> {
    let lab = engine.host().lab();
    install(engine)?;
    let mut trials = Trials {
        engine,
        lab,
        table: Table::new("Containers", ["engine", "what", "seen", "status"]),
    };
    trials.without();
    if engine.kind() == Kind::Rootless {
        trials.refused("a rootless container", &[], &["true"], "root");
        return Ok(trials.table);
    }
    trials.denials();
    trials.firsts();
    let stages: [(&str, Stage<'host>); 5] = [
        ("clients", Trials::clients),
        ("lives", Trials::lives),
        ("killed", Trials::killed),
        ("policies", Trials::policies),
        ("networks", Trials::networks),
    ];
    for (name, stage) in stages {
        if let Err(error) = stage(&mut trials) {
            trials
                .table
                .row(false, [engine.kind().name(), name, &format!("{error:#}"), ""]);
        }
    }
    Ok(trials.table)
}

/// Puts httpjail and root's policies on the host, and its runtimes into the engine's configuration.
fn install(engine: &Engine<'_>) -> Result<()> {
    let lab = engine.host().lab();
    let policy = format!(
        "version: 1\nrules:\n- {{action: allow, pattern: '^https?://ok\\.test/'}}\nupstream-ca: {}\nlog: {}\nlog-format: json\n",
        lab.upstream_ca().display(),
        lab.dir().join("containers.json").display()
    );
    let source = lab.file("ok.yaml", policy);
    let binary = lab.binary().display();
    let source = source.display();
    let kind = if engine.kind() == Kind::Docker {
        "docker"
    } else {
        "podman"
    };
    let script = format!(
        "set -e\ninstall -m 755 {binary} /usr/local/bin/httpjail\nmkdir -p /etc/httpjail/policies\n\
         install -m 644 {source} /etc/httpjail/policies/{OK}.yaml\ninstall -m 644 {source} /etc/httpjail/policies/broken.yaml\n\
         echo 'rules: [' > /etc/httpjail/policies/broken.yaml\nhttpjail runtime install {kind} --policy {OK} --policy broken"
    );
    let outcome = engine.host().command(&["sh", "-c", &script]).run();
    ensure!(outcome.code() == Some(0), "install httpjail: {}", outcome.stderr);
    engine.reload()
}

impl<'host> Trials<'host> {
    /// A container under `policy`; under no policy of a name with `None`.
    fn held<S: AsRef<str>>(&self, policy: Option<&str>, options: &[&str], command: &[S]) -> JailBuilder<'host> {
        let runtime = policy.map_or("httpjail".to_owned(), |policy| format!("httpjail-{policy}"));
        self.engine.start_container(Some(&runtime), options, command)
    }

    fn arrived(&self, mark: &str) -> usize {
        self.lab.heard().requests.filter(|seen| seen.path.contains(mark)).len()
    }

    fn row(&mut self, what: &str, good: bool, seen: String, outcome: &Outcome) {
        self.table.row(
            good,
            [
                self.engine.kind().name().to_owned(),
                what.to_owned(),
                seen,
                outcome.status.to_string(),
            ],
        );
        if !good {
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            let tail: Vec<&str> = said.lines().rev().take(6).collect();
            for line in tail.iter().rev() {
                self.table.note(format!("{what}: {line}"));
            }
        }
    }

    /// The request arrives once and nobody complains.
    fn arrives(&mut self, what: &str, mark: &str, run: JailBuilder<'_>) {
        let outcome = run.run();
        let count = self.arrived(mark);
        let complaint = outcome.stderr.to_ascii_lowercase().contains("certificate");
        self.row(
            what,
            count > 0 && !complaint,
            format!("{count} at the origin"),
            &outcome,
        );
    }

    /// Nothing with the mark gets to the wire, though the container runs.
    fn silent(&mut self, what: &str, mark: &str, run: JailBuilder<'_>) {
        let outcome = run.run();
        // What engines end with when they start nothing.
        let ran = !matches!(outcome.code(), None | Some(125..=127));
        self.quiet(what, mark, ran, &outcome);
    }

    /// The same of one that need not run.
    fn stopped(&mut self, what: &str, mark: &str, run: JailBuilder<'_>) {
        let outcome = run.run();
        self.quiet(what, mark, true, &outcome);
    }

    fn quiet(&mut self, what: &str, mark: &str, ran: bool, outcome: &Outcome) {
        let nothing = self.arrived(mark) == 0 && !self.lab.wire().saw(mark);
        let seen = match (nothing, ran) {
            (true, true) => "nothing",
            (true, false) => "did not start",
            _ => "ON THE WIRE",
        };
        self.row(what, nothing && ran, seen.to_owned(), outcome);
    }

    /// The engine says why it does not start it.
    fn refused(&mut self, what: &str, options: &[&str], command: &[&str], why: &str) {
        let outcome = self.held(Some(OK), options, command).run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let good = outcome.code() != Some(0) && said.contains("httpjail") && said.contains(why);
        let line = said.lines().find(|line| line.contains("httpjail")).unwrap_or_default();
        self.row(what, good, line.chars().take(90).collect(), &outcome);
    }
}
