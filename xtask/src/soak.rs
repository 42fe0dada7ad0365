//! `cargo xtask soak`: whether a jail's proxy grows, keeps descriptors, or judges wrongly when it works for long.
//!
//! By hand and before releases. One jail in the lab: a load in it does one stage after another and counts what it asked
//! for, the lab's servers and the jail's log count what they saw, and the processes of httpjail are looked at each second.

mod watched;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Write as _, pipe};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::{Lab, Outcome, eventually};
use serde_json::Value;

use crate::run::{cargo, quietly, root};
use crate::setup;
use crate::suites::table::Table;
use watched::Watched;

const PYTHON: &str = "/usr/bin/python3";
const WEBSOCKETS: u16 = 9443;
const RULES: [&str; 3] = [
    r"deny: ^https?://evil\.test/",
    r"allow-get: ^https?://[a-z0-9]+\.test(:9443)?/.*(allowed|aborted)$",
    r"allow-put: ^https://[a-z0-9]+\.test/count\?(allowed|aborted)$",
];
/// 2 GiB each way in both versions, then as the load's script says.
const ORDERS: [&str; 6] = [
    "down 2147483648 1.1",
    "up 2147483648 1.1",
    "down 2147483648 2",
    "up 2147483648 2",
    "streams 10000",
    "connections 5000",
];
const TICK: Duration = Duration::from_secs(1);
/// Unused upstream connections are kept for a minute and a quarter.
const REST: Duration = Duration::from_secs(100);
const PATIENCE: Duration = Duration::from_secs(20);
/// What the proxy may grow by in all of the mixed load, in KiB.
const GROWTH: f64 = 1024.0;

/// What was asked for, or arrived, or was logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    allowed: u64,
    denied: u64,
    aborted: u64,
}

/// The whole of it, or one stage, with a mixed load for so long.
pub(crate) fn run(minutes: u64, only: Option<&str>) -> Result<()> {
    setup::debian_packages(&[("curl", "curl"), ("h2load", "nghttp2-client")])?;
    let named = std::env::var_os("HTTPJAIL_TEST_BINARY").map(PathBuf::from);
    if named.is_none() {
        quietly(&mut cargo(["build", "--quiet", "--release", "--package", "httpjail"]))?;
    }
    let lab = Lab::start(&named.unwrap_or(root().join("target/release/httpjail")))?;
    lab.wire().stop();
    let server = serve(&lab)?;
    let (stdin, mut say) = pipe().context("make a pipe for the load's orders")?;
    let jail = RULES.iter().fold(lab.jail(), |jail, rule| jail.rule(rule));
    let jail = jail
        .stdin_from(stdin)
        .limit(Duration::from_secs(minutes * 60 + 1800))
        .command([Path::new(PYTHON), &root().join("tests/soak/load.py")])
        .start()?;
    ensure!(
        eventually(PATIENCE, || jail.stdout().contains("ready")),
        "no load: {}",
        jail.stderr()
    );
    let watched = Watched::of(&jail, lab.binary())?;
    let open = watched.descriptors();

    let mut table = Table::new(
        "soak: one jail, its proxy's memory in MiB, and the descriptors of all its processes",
        [
            "stage",
            "s",
            "allowed",
            "denied",
            "aborted",
            "arrived",
            "wrong",
            "peak",
            "after",
            "descriptors",
        ],
    );
    let before = watched.memory("VmRSS")?;
    table.row(
        true,
        ["before", "", "", "", "", "", "", "", &mib(before), &open.to_string()],
    );
    let mixed = format!("mixed {}", minutes * 60);
    let mut all = Counts::default();
    let mut samples = Vec::new();
    let orders = ORDERS.into_iter().chain([mixed.as_str()]);
    let orders = orders.filter(|order| only.is_none_or(|only| order.starts_with(only)));
    for (done, order) in orders.enumerate() {
        let (start, earlier) = (Instant::now(), arrived(&lab, &server));
        samples.clear();
        watched.forget_peak()?;
        writeln!(say, "{order}").context("tell the load what to do")?;
        while jail.stdout().lines().count() < done + 2 {
            sleep(TICK);
            samples.push(watched.memory("VmRSS").context("the proxy has ended")?);
        }
        let said = jail.stdout().lines().last().unwrap_or_default().to_owned();
        let said: Value = serde_json::from_str(&said).with_context(|| format!("what the load said: {said}"))?;
        let asked = Counts::from_fields(&said);
        all = all.and(asked);
        let there = arrived(&lab, &server).without(earlier);
        let wrong: Vec<&Value> = said["wrong"]
            .as_array()
            .map(|list| list.iter().collect())
            .unwrap_or_default();
        let good = wrong.is_empty() && there.is_all_of(asked);
        let [peak, after] = [watched.memory("VmHWM")?, watched.memory("VmRSS")?].map(mib);
        table.row(
            good,
            [
                order.to_owned(),
                start.elapsed().as_secs().to_string(),
                asked.allowed.to_string(),
                asked.denied.to_string(),
                asked.aborted.to_string(),
                format!("{}+{}", there.allowed, there.aborted),
                (wrong.len() as u64 + there.denied).to_string(),
                peak,
                after,
                watched.descriptors().to_string(),
            ],
        );
        wrong
            .iter()
            .take(5)
            .for_each(|wrong| table.note(format!("{order}: {wrong}")));
        eprint!("{table}");
    }
    let start = Instant::now();
    let closed = eventually(REST, || watched.descriptors() <= open);
    let (rest, left, after) = (
        start.elapsed().as_secs(),
        watched.descriptors(),
        watched.memory("VmRSS")?,
    );
    table.row(
        closed,
        [
            "rest",
            &rest.to_string(),
            "",
            "",
            "",
            "",
            "",
            "",
            &mib(after),
            &left.to_string(),
        ],
    );
    // A fifth to warm up: caches fill, the allocator finds its size.
    let warm = samples.get(samples.len() / 5..).unwrap_or_default();
    let growth = slope(warm) * (minutes * 60) as f64;
    let fit = format!("growth in {minutes} min");
    let growth_mib = format!("{:+.2}", growth / 1024.0);
    table.row(growth < GROWTH, [&fit, "", "", "", "", "", "", "", &growth_mib]);
    table.note(format!(
        "growth: of a line through the mixed load's seconds {} to {}",
        samples.len() / 5,
        samples.len()
    ));
    drop(say);
    let outcome = jail.wait()?;
    for event in broken(&outcome).take(5) {
        table.note(format!("in the log: {event}"));
    }
    let logged = logged(&outcome);
    let same = logged.denied == all.denied && Counts { denied: 0, ..logged }.is_all_of(all);
    let [allowed, denied, aborted] = [logged.allowed, logged.denied, logged.aborted].map(|count| count.to_string());
    table.row(same, ["in the log", "", &allowed, &denied, &aborted]);
    println!("{table}");
    ensure!(table.faults() == 0, "{} rows are not as they must be", table.faults());
    Ok(())
}

/// The server of WebSockets: ended when dropped.
struct Server {
    child: Child,
    /// A line for each path that was asked for.
    heard: PathBuf,
}

fn serve(lab: &Lab) -> Result<Server> {
    let heard = lab.fresh_path("websockets");
    let (chain, key) = lab.certificate("ws.test")?;
    let mut command = Command::new(PYTHON);
    command.arg(root().join("tests/soak/load.py"));
    command.args(["serve", &WEBSOCKETS.to_string()]).args([chain, key]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(File::create(&heard).context("create a server's output")?);
    let child = lab.on_world(|| command.spawn().context("start a server of WebSockets"))?;
    let server = Server { child, heard };
    let up = || TcpStream::connect((Ipv4Addr::LOCALHOST, WEBSOCKETS)).is_ok();
    ensure!(
        lab.on_world(|| Ok(eventually(PATIENCE, up)))?,
        "no server of WebSockets"
    );
    Ok(server)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended by itself, or killed here: reaped either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the servers have seen so far.
fn arrived(lab: &Lab, server: &Server) -> Counts {
    let counts = Cell::new(Counts::default());
    let count = |path: &str| counts.set(counts.get().and(Counts::of(path)));
    // Counted where they are: they are many.
    lab.heard().requests.filter(|seen| {
        count(if seen.host == "evil.test" { "denied" } else { &seen.path });
        false
    });
    fs::read_to_string(&server.heard)
        .unwrap_or_default()
        .lines()
        .for_each(count);
    counts.get()
}

/// What the jail's log says; a request that was decided otherwise than its URL says counts as nothing.
fn logged(outcome: &Outcome) -> Counts {
    let requests = outcome.events_with(&[("event", "request")]);
    let judged = requests.iter().filter_map(|event| {
        let url = event["url"].as_str()?;
        let counts = Counts::of(url);
        let wanted = if counts.denied > 0 { "deny" } else { "allow" };
        (event["verdict"] == wanted).then_some(counts)
    });
    judged.fold(Counts::default(), Counts::and)
}

/// What was allowed and was to come to its end, and did not.
fn broken(outcome: &Outcome) -> impl Iterator<Item = &Value> {
    let requests = outcome.events_with(&[("event", "request"), ("verdict", "allow")]);
    let aborted = |event: &Value| Counts::of(event["url"].as_str().unwrap_or_default()).aborted > 0;
    requests
        .into_iter()
        .filter(move |event| event["reason"].is_string() && !aborted(event))
}

impl Counts {
    /// One, as its path says.
    fn of(path: &str) -> Counts {
        let is = |word| u64::from(path.contains(word));
        let (denied, aborted) = (is("denied"), is("aborted"));
        Counts {
            denied,
            aborted: aborted.saturating_sub(denied),
            allowed: is("allowed").saturating_sub(denied),
        }
    }

    fn from_fields(said: &Value) -> Counts {
        let [allowed, denied, aborted] =
            ["allowed", "denied", "aborted"].map(|name| said[name].as_u64().unwrap_or(u64::MAX));
        Counts {
            allowed,
            denied,
            aborted,
        }
    }

    fn and(self, other: Counts) -> Counts {
        Counts {
            allowed: self.allowed + other.allowed,
            denied: self.denied + other.denied,
            aborted: self.aborted + other.aborted,
        }
    }

    fn without(self, other: Counts) -> Counts {
        Counts {
            allowed: self.allowed - other.allowed,
            denied: self.denied - other.denied,
            aborted: self.aborted - other.aborted,
        }
    }

    /// All that was to arrive did, of what was aborted perhaps not all, and nothing that was denied.
    fn is_all_of(self, asked: Counts) -> bool {
        self.allowed == asked.allowed && self.denied == 0 && self.aborted <= asked.aborted
    }
}

fn mib(kib: f64) -> String {
    format!("{:.1}", kib / 1024.0)
}

/// Of the line with the least squares through samples that were taken once a second.
fn slope(samples: &[f64]) -> f64 {
    let count = samples.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, samples.iter().sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (second, sample) in samples.iter().enumerate() {
        let off = second as f64 - middle;
        above += off * (sample - mean);
        below += off * off;
    }
    above / below
}
