//! Two network namespaces with a cable between them: the origin in the one; the load, and the proxies that it is sent
//! through, in the other. The proxies have one processor, load and origin the other. No other interface is in either.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::Space;

use super::run::Run;
use crate::run::{command, quietly, root};
use crate::setup::debian_packages;

const PROGRAMS: [(&str, &str); 8] = [
    ("haproxy", "haproxy"),
    ("nghttpx", "nghttp2-proxy"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("python3", "python3-venv"),
    ("socat", "socat"),
    ("squid", "squid-openssl"),
    ("taskset", "util-linux"),
];
pub(super) const PLAIN: &str = "198.51.100.2:9080";
/// HTTP/1.1 alone: a proxy that may choose would speak h2, and save connections that the others need.
pub(super) const TLS: &str = "198.51.100.2:9443";
pub(super) const H2: &str = "198.51.100.2:9445";
/// For what nginx cannot do: what is large, or slow.
pub(super) const ENDPOINT: &str = "198.51.100.2:9444";
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Rig {
    world: Space,
    jailside: Space,
    dir: PathBuf,
    // Ended when dropped.
    origin: Process,
}

/// A program that ends with this value.
pub(super) struct Process {
    child: Child,
}

impl Rig {
    /// Installs what is missing, makes the namespaces, and starts the origin.
    pub(super) fn raise(run: &Run) -> Result<Rig> {
        debian_packages(&PROGRAMS)?;
        let dir = tempfile::Builder::new().prefix("rig-").tempdir_in(run.scratch());
        let dir = dir.context("make a directory")?.keep();
        let peers = fs::read_dir(root().join("benches/peers")).context("list the peers' configurations")?;
        for file in peers {
            let file = file.context("list the peers' configurations")?;
            fs::copy(file.path(), dir.join(file.file_name())).context("copy a peer's configuration")?;
        }
        fs::write(dir.join("hosts"), "127.0.0.1 localhost\n198.51.100.2 origin.test\n").context("write hosts")?;
        certificate(&dir)?;
        let (world, jailside) = cable(&dir)?;
        let mut nginx = pinned("1", "nginx");
        nginx.arg("-p").arg(&dir).args(["-c", "origin.conf"]);
        run.note_first_line("nginx", "-v");
        run.note_command("origin", &nginx);
        let child = world.run(|| nginx.spawn().context("start the origin"))?;
        let mut origin = Process { child };
        await_listener(&world, &mut origin, TLS)?;
        Ok(Rig {
            world,
            jailside,
            dir,
            origin,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program on the side of the proxies.
    pub(super) fn start(&self, command: &mut Command) -> Result<Process> {
        command.current_dir(&self.dir).env("HOME", &self.dir);
        let child = self
            .jailside
            .run(|| command.spawn().with_context(|| format!("start {command:?}")))?;
        Ok(Process { child })
    }

    /// The server of this bench, beside the origin.
    pub(super) fn start_endpoint(&self, run: &Run, program: &Path) -> Result<Process> {
        let mut command = pinned("1", program);
        command.args([ENDPOINT, "cert.pem", "key.pem"]).current_dir(&self.dir);
        run.note_command("endpoint", &command);
        let child = self.world.run(|| command.spawn().context("start the endpoint"))?;
        let mut endpoint = Process { child };
        await_listener(&self.world, &mut endpoint, ENDPOINT)?;
        Ok(endpoint)
    }

    /// Waits until `process` accepts at `address`.
    pub(super) fn await_listener(&self, process: &mut Process, address: &str) -> Result<()> {
        await_listener(&self.jailside, process, address)
    }

    /// How many connections the origin has accepted.
    pub(super) fn accepted(&self) -> Result<f64> {
        self.world.run(|| {
            let text = fs::read_to_string("/proc/thread-self/net/snmp").context("read the counters of TCP")?;
            passive_opens(&text).context("find PassiveOpens")
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.origin.end();
    }
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    fn end(&mut self) {
        // Ended by itself, or killed here: reaped either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// `program` on one processor, silent.
pub(super) fn pinned(processor: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = command("taskset", ["-c", processor]);
    command.arg(program).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn await_listener(space: &Space, process: &mut Process, address: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while space.run(|| Ok(TcpStream::connect(address).is_err()))? {
        let ended = process.child.try_wait().context("look at a process")?;
        ensure!(ended.is_none(), "it has ended");
        ensure!(Instant::now() < deadline, "nobody listens on {address}");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Of /proc/net/snmp: a line of names, and a line of values (proc_pid_net(5)).
fn passive_opens(text: &str) -> Option<f64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "PassiveOpens")?.1.parse().ok()
}

/// The world with the origin's address, and the side of the load and the proxies.
fn cable(dir: &Path) -> Result<(Space, Space)> {
    let (world, jailside) = (Space::network()?, Space::network_and_mounts()?);
    let shell = |space: &Space, script: &str| space.run(|| quietly(&mut command("sh", ["-ec", script])).map(drop));
    shell(
        &jailside,
        // Another /run, so that this machine's other jails are none of ours.
        &format!(
            "mount -t tmpfs bench /run; mount --bind {} /etc/hosts; ip link set lo up
             ip link add j0 index 10 type veth peer name w0 netns {}
             ip addr add 198.51.100.1/24 dev j0; ip link set j0 up",
            dir.join("hosts").display(),
            world.net_path()
        ),
    )?;
    shell(
        &world,
        "ip link set lo up; ip addr add 198.51.100.2/24 dev w0; ip link set w0 up",
    )?;
    shell(&jailside, "ip route add default via 198.51.100.2")?;
    Ok((world, jailside))
}

/// The origin's, which is its own authority, and none that could sign for others.
fn certificate(dir: &Path) -> Result<()> {
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=origin.test
        -addext subjectAltName=DNS:origin.test,IP:198.51.100.2 -addext basicConstraints=critical,CA:FALSE
        -keyout key.pem -out cert.pem";
    quietly(command("openssl", request.split_whitespace()).current_dir(dir))?;
    let read = |name: &str| fs::read(dir.join(name)).context("read the certificate");
    fs::write(dir.join("both.pem"), [read("cert.pem")?, read("key.pem")?].concat()).context("write the certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_are_found_by_their_name() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: RtoMin ActiveOpens PassiveOpens\nTcp: 200 7 42\n";
        assert_eq!(passive_opens(text), Some(42.0));
        assert_eq!(passive_opens("Tcp: RtoMin\nTcp: 200\n"), None);
    }
}
