//! `cargo xtask bench proxy`: throughput, processor time and added latency, against hudsucker and mitmdump.
//!
//! Everything runs in two network namespaces of its own, with a cable between them: nginx in the one; the load, and the
//! proxies that it is sent through, in the other. The proxies have one processor, load and origin the other. The
//! contestants take turns, so that what else runs on the machine hurts all alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context as _, Result};
use httpjail_lab::Space;
use tempfile::TempDir;

use super::contestant::{Contestant, Figures, await_listener, pinned};
use crate::run::{cargo, command, quietly, root};
use crate::setup::debian_packages;

const ROUNDS: usize = 3;
const SECONDS: &str = "2";
const MITMPROXY: &str = "11.0.2";
const PROGRAMS: [(&str, &str); 4] = [
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("python3", "python3-venv"),
    ("taskset", "util-linux"),
];
const NGINX: &str = "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000000; ssl_certificate cert.pem; ssl_certificate_key key.pem;
 server { listen 198.51.100.2:9080; listen 198.51.100.2:9443 ssl http2; location / { return 200 BODY; } } }";
const PLAIN: &str = "198.51.100.2:9080";
const TLS: &str = "198.51.100.2:9443";
const ANY: &str = r"allow: ^https?://198\.51\.100\.2(:\d+)?/";
/// What is asked for: its title, protocol, and rate (0: as many as there can be).
const LOADS: [(&str, &str, u32, &str); 5] = [
    ("HTTP/1.1, 16 connections", "http1", 0, PLAIN),
    ("HTTPS/1.1, 16 connections", "https1", 0, TLS),
    ("h2, 4 connections of 8 streams", "h2", 0, TLS),
    ("HTTP/1.1 at 200/s", "http1", 200, PLAIN),
    ("HTTPS/1.1 at 200/s", "https1", 200, TLS),
];

/// Measures all contestants, or the one that is named besides the direct way.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    debian_packages(&PROGRAMS)?;
    let programs = Programs::get()?;
    programs.print_versions()?;
    let dir = tempfile::Builder::new()
        .prefix("httpjail-bench-")
        .tempdir()
        .context("make a directory")?;
    let (world, jailside) = cable()?;
    let mut origin = origin(&world, dir.path())?;
    let result = contest(&programs, &jailside, &dir, only);
    origin.kill().and_then(|()| origin.wait()).context("end nginx")?;
    result
}

struct Programs {
    httpjail: PathBuf,
    load: PathBuf,
    hudsucker: PathBuf,
    mitmdump: PathBuf,
}

impl Programs {
    /// Builds and installs them.
    fn get() -> Result<Programs> {
        quietly(&mut cargo([
            "build",
            "--release",
            "--package",
            "httpjail",
            "--bin",
            "httpjail",
        ]))?;
        let target = root().join("target");
        quietly(
            cargo([
                "build",
                "--release",
                "--manifest-path",
                "benches/proxy/Cargo.toml",
                "--target-dir",
            ])
            .arg(target.join("benches")),
        )?;
        let mitmproxy = target.join(format!("mitmproxy-{MITMPROXY}"));
        let mitmdump = mitmproxy.join("bin/mitmdump");
        if !mitmdump.is_file() {
            quietly(command("python3", ["-m", "venv"]).arg(&mitmproxy))?;
            let wanted = format!("mitmproxy=={MITMPROXY}");
            quietly(command("nice", [mitmproxy.join("bin/pip").as_os_str()]).args(["install", "--quiet", &wanted]))?;
        }
        Ok(Programs {
            httpjail: target.join("release/httpjail"),
            load: target.join("benches/release/load"),
            hudsucker: target.join("benches/release/hudsucker"),
            mitmdump,
        })
    }

    fn print_versions(&self) -> Result<()> {
        let first = |program: &Path, option| -> Result<String> {
            let output = quietly(&mut command(&program.to_string_lossy(), [option]))?;
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            Ok(text.lines().next().unwrap_or_default().to_owned())
        };
        let lock = fs::read_to_string(root().join("benches/proxy/Cargo.lock")).context("read the lock file")?;
        let hudsucker = lock
            .split_once("name = \"hudsucker\"\nversion = \"")
            .context("hudsucker's version")?
            .1;
        println!("{}", first(&self.httpjail, "--version")?);
        println!("hudsucker {}", hudsucker.split('"').next().unwrap_or_default());
        println!("mitmdump {}", first(&self.mitmdump, "--version")?);
        println!("{}", first(Path::new("nginx"), "-v")?);
        println!(
            "kernel {}",
            fs::read_to_string("/proc/sys/kernel/osrelease")
                .context("the kernel's version")?
                .trim()
        );
        Ok(())
    }
}

/// The world with the origin's address, and the side of the load and the proxies.
fn cable() -> Result<(Space, Space)> {
    let (world, jailside) = (Space::network()?, Space::network_and_mounts()?);
    let shell = |space: &Space, script: &str| space.run(|| quietly(&mut command("sh", ["-ec", script])).map(drop));
    shell(
        &jailside,
        // Another /run, so that this machine's other jails are none of ours.
        &format!(
            "mount -t tmpfs bench /run; ip link set lo up
             ip link add j0 index 10 type veth peer name w0 netns {}
             ip addr add 198.51.100.1/24 dev j0; ip link set j0 up",
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

fn origin(world: &Space, dir: &Path) -> Result<Child> {
    // Its own authority, and not one that could sign for others.
    let certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=origin
        -addext subjectAltName=IP:198.51.100.2 -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem";
    quietly(command("openssl", certificate.split_whitespace()).current_dir(dir))?;
    fs::write(dir.join("nginx.conf"), NGINX.replace("BODY", &"x".repeat(1024))).context("write nginx.conf")?;
    let mut nginx = pinned("1", "nginx");
    nginx.arg("-p").arg(dir).args(["-c", "nginx.conf"]);
    let origin = world.run(|| nginx.spawn().context("start nginx"))?;
    await_listener(world, TLS)?;
    Ok(origin)
}

fn contest(programs: &Programs, space: &Space, dir: &TempDir, only: Option<&str>) -> Result<()> {
    let authority = dir.path().join("cert.pem");
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (binary, authority) = (path(&programs.httpjail), path(&authority));
    let own = ["--ephemeral-ca", "--upstream-ca", &authority, "-r", ANY];
    let serve = [
        &[&binary, "serve", "--auth", "none", "--listen", "127.0.0.1:7001"][..],
        &own,
    ]
    .concat();
    let jail = [&[&binary, "--backend", "ebpf"][..], &own, &["--"]].concat();
    let (hudsucker, mitmdump) = (path(&programs.hudsucker), path(&programs.mitmdump));
    let trust = format!("ssl_verify_upstream_trusted_ca={authority}");
    let settings = format!("confdir={}", path(dir.path()));
    let mitmdump: Vec<&str> = [
        &mitmdump,
        "-q",
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        "7003",
        "--set",
        &trust,
        "--set",
        &settings,
    ]
    .into();
    let hudsucker = vec![&*hudsucker, "127.0.0.1:7002", &authority];
    let all: [(&str, Option<&str>, Vec<&str>); 5] = [
        ("direct", None, vec![]),
        ("httpjail serve", Some("127.0.0.1:7001"), serve),
        ("httpjail, jail", None, jail),
        ("hudsucker", Some("127.0.0.1:7002"), hudsucker),
        ("mitmdump", Some("127.0.0.1:7003"), mitmdump),
    ];
    let mut contestants = Vec::new();
    for (name, address, line) in all {
        if name != "direct" && only.is_some_and(|only| only != name) {
            continue;
        }
        let shown = line.join(" ").replace(&*path(dir.path()), "DIR");
        println!("{name}: {}", shown.replace(&*path(root()), "."));
        contestants.push(Contestant::start(
            name,
            space,
            dir.path(),
            &programs.load,
            address,
            &line,
        )?);
    }
    for (title, protocol, rate, origin) in LOADS {
        let mut rounds: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for contestant in &mut contestants {
                let figures = contestant
                    .bear(protocol, rate, SECONDS, origin)
                    .with_context(|| format!("{title}, {}", contestant.name))?;
                rounds.entry(contestant.name).or_default().push(figures);
            }
        }
        let load = fs::read_to_string("/proc/loadavg").context("read the load of the machine")?;
        println!(
            "\n{title} ({ROUNDS} rounds of {SECONDS} s; load of the machine {})",
            load.trim()
        );
        print!(
            "{}",
            table(
                &contestants
                    .iter()
                    .map(|one| (one.name, &rounds[one.name]))
                    .collect::<Vec<_>>()
            )
        );
    }
    Ok(())
}

fn table(rounds: &[(&str, &Vec<Figures>)]) -> String {
    let medians: BTreeMap<&str, Figures> = rounds
        .iter()
        .map(|(name, figures)| {
            (
                *name,
                std::array::from_fn(|at| median(figures.iter().map(|one| one[at]).collect())),
            )
        })
        .collect();
    let added = |name: &str, at: usize| Some(medians.get(name)?[at] - medians.get("direct")?[at]);
    let mut text = format!(
        "{:<15} {:>8} {:>8} {:>8} {:>8} | {:>8} {:>8} {:>8} | {:>7} {:>7} {:>9} {:>9}\n",
        "",
        "req/s",
        "direct",
        "hudsuck.",
        "mitmd.",
        "CPU us",
        "hudsuck.",
        "mitmd.",
        "p50 us",
        "p99 us",
        "added p50",
        "added p99"
    );
    let mut raw = String::new();
    for (name, figures) in rounds {
        let own = medians[name];
        let [rate, cpu, p50, p99] = own;
        let to = |other: &str, at: usize| {
            medians
                .get(other)
                .map_or(String::new(), |other| format!("{:.2}x", own[at] / other[at]))
        };
        text += &format!(
            "{name:<15} {rate:>8.0} {:>8} {:>8} {:>8} | ",
            to("direct", 0),
            to("hudsucker", 0),
            to("mitmdump", 0)
        );
        text += &match *name {
            "direct" => format!("{:>8} {:>8} {:>8} | {p50:>7.0} {p99:>7.0}\n", "", "", ""),
            _ => format!(
                "{cpu:>8.1} {:>8} {:>8} | {p50:>7.0} {p99:>7.0} {:>9.0} {:>9.0}\n",
                to("hudsucker", 1),
                to("mitmdump", 1),
                added(name, 2).unwrap_or_default(),
                added(name, 3).unwrap_or_default(),
            ),
        };
        let one = |[rate, cpu, p50, p99]: &Figures| format!("{rate:.0}/{cpu:.0}/{p50:.0}/{p99:.0}");
        raw += &format!("  {name}: {}\n", figures.iter().map(one).collect::<Vec<_>>().join(" "));
    }
    text + "  each round: requests a second / CPU us / p50 us / p99 us\n" + &raw
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
