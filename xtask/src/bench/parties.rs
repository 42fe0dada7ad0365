//! Who takes part in the proxies' goals: how each is had, started and reached.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::load::Order;
use super::report::Role;
use super::rig::{ENDPOINT, H2, PLAIN, Process, Rig, TLS, pinned};
use super::run::Run;
use crate::run::{cargo, command, have, quietly, root};

const MITMPROXY: &str = "11.0.2";
const RULE: &str = r"allow: ^https?://origin\.test(:\d+)?/";

/// A proxy that runs, or the way without one.
pub(super) struct Party {
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// A forward proxy, which is asked with CONNECT or an absolute URL.
    pub(super) ask: bool,
    /// So slow that it gets a fraction of the requests.
    pub(super) slow: bool,
    /// For HTTP/1.1, HTTPS, h2, and HTTPS to the endpoint; empty where it cannot.
    addresses: [&'static str; 4],
    /// None without a proxy, and when it is missing.
    process: Option<Process>,
    /// Why it does not take part.
    pub(super) missing: Option<String>,
}

/// What is built or installed besides the distribution's packages.
pub(super) struct Programs {
    pub(super) load: PathBuf,
    /// A server that is little more than rustls.
    pub(super) endpoint: PathBuf,
    hudsucker: PathBuf,
}

impl Programs {
    pub(super) fn get(run: &Run) -> Result<Programs> {
        run.say("building the load and hudsucker");
        let target = root().join("target/benches");
        let mut build = cargo(["build", "--release", "--manifest-path", "benches/proxy/Cargo.toml"]);
        quietly(build.arg("--target-dir").arg(&target))?;
        let lock = fs::read_to_string(root().join("benches/proxy/Cargo.lock")).context("read the lock file")?;
        let version = lock.split_once("name = \"hudsucker\"\nversion = \"");
        let version = version.and_then(|(_, rest)| rest.split('"').next());
        run.note_version(format!("hudsucker {}", version.context("hudsucker's version")?));
        Ok(Programs {
            load: target.join("release/load"),
            endpoint: target.join("release/endpoint"),
            hudsucker: target.join("release/hudsucker"),
        })
    }
}

impl Party {
    /// Where it listens for such an order, if it does.
    pub(super) fn address(&self, order: &Order) -> Option<&'static str> {
        let [plain, https, h2, endpoint] = self.addresses;
        let address = match order.kind {
            "http1" => plain,
            "h2" => h2,
            _ if order.endpoint => endpoint,
            _ => https,
        };
        (!address.is_empty() && self.missing.is_none()).then_some(address)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The way without a proxy.
    pub(super) fn direct() -> Party {
        Party::new("direct", Role::Limit, false, [PLAIN, TLS, H2, ENDPOINT])
    }

    /// The httpjail of the run.
    pub(super) fn httpjail(run: &Run, rig: &Rig) -> Result<Party> {
        Party::serving(run, rig, "127.0.0.1:7001", &[])
    }

    /// The same, which decrypts nothing.
    pub(super) fn unopened(run: &Run, rig: &Rig) -> Result<Party> {
        Party::serving(run, rig, "127.0.0.1:7005", &["--no-tls-intercept"])
    }

    fn serving(run: &Run, rig: &Rig, address: &'static str, options: &[&str]) -> Result<Party> {
        let mut line = pinned("0", &run.binary);
        line.args(["serve", "--auth", "none", "--listen", address, "--ephemeral-ca"]);
        line.args(["--upstream-ca", "cert.pem", "-r", RULE]).args(options);
        let party = Party::new("httpjail", Role::Ours, true, [address; 4]).started(run, rig, &mut line);
        match &party.missing {
            Some(why) => Err(anyhow::anyhow!("httpjail: {why}")),
            None => Ok(party),
        }
    }

    pub(super) fn haproxy(run: &Run, rig: &Rig) -> Party {
        run.note_first_line("haproxy", "-v");
        let mut line = pinned("0", "haproxy");
        line.args(["-db", "-q", "-f", "haproxy.cfg"]);
        let addresses = ["127.0.0.1:7010", "127.0.0.1:7011", "127.0.0.1:7012", "127.0.0.1:7015"];
        Party::new("haproxy", Role::Peer, false, addresses).started(run, rig, &mut line)
    }

    pub(super) fn nginx(run: &Run, rig: &Rig) -> Party {
        let mut line = pinned("0", "nginx");
        line.arg("-p").arg(rig.dir()).args(["-c", "nginx.conf"]);
        let addresses = ["127.0.0.1:7020", "127.0.0.1:7021", "", "127.0.0.1:7022"];
        Party::new("nginx", Role::Peer, false, addresses).started(run, rig, &mut line)
    }

    /// HAProxy that moves bytes, by reading and writing or by splice(2).
    pub(super) fn relay(run: &Run, rig: &Rig, splice: bool) -> Party {
        let mut line = pinned("0", "haproxy");
        line.args([
            "-db",
            "-q",
            "-f",
            if splice {
                "haproxy-splice.cfg"
            } else {
                "haproxy-relay.cfg"
            },
        ]);
        let (name, addresses) = match splice {
            true => ("haproxy splice", ["", "", "", "127.0.0.1:7014"]),
            false => ("haproxy relay", ["", "127.0.0.1:7013", "", ""]),
        };
        Party::new(name, Role::Peer, false, addresses).started(run, rig, &mut line)
    }

    pub(super) fn socat(run: &Run, rig: &Rig) -> Party {
        run.note_first_line("socat", "-V");
        let mut line = pinned("0", "socat");
        line.args([
            "TCP-LISTEN:7040,bind=127.0.0.1,reuseaddr,fork,nodelay",
            &format!("TCP:{ENDPOINT},nodelay"),
        ]);
        Party::new("socat", Role::Peer, false, ["", "", "", "127.0.0.1:7040"]).started(run, rig, &mut line)
    }

    pub(super) fn nghttpx(run: &Run, rig: &Rig) -> Party {
        run.note_first_line("nghttpx", "--version");
        let mut line = pinned("0", "nghttpx");
        line.args(["--conf", "nghttpx.conf"]);
        Party::new("nghttpx", Role::Peer, false, ["", "", "127.0.0.1:7030", ""]).started(run, rig, &mut line)
    }

    /// Nothing but TLS, with no origin behind it.
    pub(super) fn rustls(run: &Run, rig: &Rig, programs: &Programs) -> Party {
        let mut line = pinned("0", &programs.endpoint);
        line.args(["127.0.0.1:7050", "cert.pem", "key.pem"]);
        Party::new("rustls", Role::Limit, false, ["", "127.0.0.1:7050", "", ""]).started(run, rig, &mut line)
    }

    pub(super) fn hudsucker(run: &Run, rig: &Rig, programs: &Programs) -> Party {
        let mut line = pinned("0", &programs.hudsucker);
        line.args(["127.0.0.1:7002", "cert.pem"]);
        Party::new("hudsucker", Role::Peer, true, ["127.0.0.1:7002"; 4]).started(run, rig, &mut line)
    }

    pub(super) fn squid(run: &Run, rig: &Rig) -> Party {
        run.note_first_line("squid", "-v");
        let party = Party::new("squid", Role::Peer, true, ["127.0.0.1:7004", "127.0.0.1:7004", "", ""]);
        let party = Party { slow: true, ..party };
        // It gives its rights up for a user of its own, and reads and writes as that.
        let prepare =
            "/usr/lib/squid/security_file_certgen -c -s certificates -M 4MB; chmod 755 . ..; chown -R proxy .";
        if let Err(error) = quietly(command("sh", ["-ec", prepare]).current_dir(rig.dir())) {
            return party.without(format!("{error:#}"));
        }
        let mut line = pinned("0", "squid");
        line.args(["-N", "-f", "squid.conf"]);
        party.started(run, rig, &mut line)
    }

    pub(super) fn mitmdump(run: &Run, rig: &Rig) -> Party {
        let party = Party::new("mitmdump", Role::Peer, true, ["127.0.0.1:7003"; 4]);
        let party = Party { slow: true, ..party };
        let program = match mitmdump(run) {
            Ok(program) => program,
            Err(error) => return party.without(format!("{error:#}")),
        };
        run.note_version(format!("mitmdump {MITMPROXY}"));
        let mut line = pinned("0", program);
        line.args(["-q", "--listen-host", "127.0.0.1", "--listen-port", "7003"]);
        line.args(["--set", "ssl_verify_upstream_trusted_ca=cert.pem", "--set", "confdir=."]);
        party.started(run, rig, &mut line)
    }

    fn new(name: &'static str, role: Role, ask: bool, addresses: [&'static str; 4]) -> Party {
        Party {
            name,
            role,
            ask,
            slow: false,
            addresses,
            process: None,
            missing: None,
        }
    }

    fn started(mut self, run: &Run, rig: &Rig, line: &mut Command) -> Party {
        let program = line
            .get_args()
            .nth(2)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !program.contains('/') && !have(&program) && !PathBuf::from("/usr/sbin").join(&program).is_file() {
            return self.without("not installed".into());
        }
        run.note_command(self.name, line);
        let mut start = || -> Result<Process> {
            let mut process = rig.start(line)?;
            let address = self.addresses.into_iter().find(|address| !address.is_empty());
            rig.await_listener(&mut process, address.unwrap_or_default())?;
            Ok(process)
        };
        match start() {
            Ok(process) => {
                self.process = Some(process);
                self
            }
            Err(error) => self.without(format!("{error:#}")),
        }
    }

    fn without(mut self, why: String) -> Party {
        eprintln!("bench: without {}: {why}", self.name);
        self.missing = Some(why);
        self
    }
}

/// From PyPI, in a virtual environment of its own.
fn mitmdump(run: &Run) -> Result<PathBuf> {
    let folder = root().join(format!("target/mitmproxy-{MITMPROXY}"));
    let program = folder.join("bin/mitmdump");
    if !program.is_file() {
        run.say("installing mitmproxy");
        quietly(command("python3", ["-m", "venv"]).arg(&folder))?;
        let wanted = format!("mitmproxy=={MITMPROXY}");
        quietly(command("nice", [folder.join("bin/pip").as_os_str()]).args(["install", "--quiet", &wanted]))?;
    }
    Ok(program)
}
