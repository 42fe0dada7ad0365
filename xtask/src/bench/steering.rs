//! G10: what steering adds to connect(2), and how long the hooks of ebpf take.
//!
//! One program connects in a loop: without a jail to an open httpjail, so that the accept is the same; the same way, but
//! led there by a redirect of nftables as people write it; and in a jail of each backend. The scheduler places them all: a
//! jail's init makes the call for the program (`jail::unix`), and is best where the program is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::host::{Crowd, Host, built, listed};
use super::line::{self, Line};
use super::report::{Aim, Role, Row, Samples};
use super::run::Run;
use crate::run::{command, quietly};
use crate::setup::debian_packages;

/// In a round.
const CONNECTS: usize = 2_000;
const UNJAILED: &str = "no jail";
const SERVE: &str = "127.0.0.1:7001";
/// Where nobody is (RFC 5737): the jails and the redirect lead elsewhere.
const FAR: [&str; 2] = ["198.51.100.9", "80"];
const REDIRECT: &str = "table ip nat { chain output { type nat hook output priority -100; \
    ip daddr 198.51.100.9 tcp dport 80 redirect to :7001; }; }";

/// Something on a host that answers lines to bytes. Ended when dropped, before the host is.
struct Talker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// A loop that connects, with what accepts where that is not the jail's.
struct Contestant<'host> {
    name: &'static str,
    role: Role,
    connect: Talker,
    _serve: Option<Talker>,
    host: &'host Host,
    /// Nanoseconds of connect(2), and of a whole connection.
    rounds: Vec<[f64; 2]>,
}

/// What a BPF program did so far.
struct Hook {
    name: String,
    times: f64,
    ns: f64,
    verified: String,
}

/// Measures all of them.
pub(super) fn run(run: &Run) -> Result<Vec<Row>> {
    debian_packages(&[("nft", "nftables")])?;
    run.note_first_line("nft", "--version");
    line::install(run)?;
    let hosts = (0..4)
        .map(|_| Host::with(Crowd::default(), run.scratch()))
        .collect::<Result<Vec<Host>>>()?;
    let mut all = vec![
        served(UNJAILED, Role::Limit, &hosts[0], &["127.0.0.1", "7001"], run)?,
        redirected(&hosts[1], run)?,
        jailed("ebpf", &hosts[2], run)?,
        jailed("netns", &hosts[3], run)?,
    ];
    for one in &mut all {
        one.connect.connects()?;
    }
    for _ in 0..run.rounds {
        for one in &mut all {
            let round = one.connect.connects()?;
            one.rounds.push(round);
        }
    }
    let mut rows: Vec<Row> = ["ebpf", "netns"].map(|ours| row(ours, &all)).into();
    let ebpf = all.iter_mut().find(|one| one.name == "ebpf").context("ebpf")?;
    rows.extend(hooks(ebpf, run)?);
    Ok(rows)
}

fn served<'host>(
    name: &'static str,
    role: Role,
    host: &'host Host,
    to: &[&str; 2],
    run: &Run,
) -> Result<Contestant<'host>> {
    let words = ["serve", "--auth", "none", "--listen", SERVE, "-r", "allow: .*"];
    let mut serve = Talker::start(&Line::httpjail(name, &words, run), &[], host)?;
    // It says where it listens.
    serve.line()?;
    let connect = Talker::start(&Line::new(name, role, [""; 0], run), &looped(to, run)?, host)?;
    Ok(Contestant {
        name,
        role,
        connect,
        _serve: Some(serve),
        host,
        rounds: Vec::new(),
    })
}

fn redirected<'host>(host: &'host Host, run: &Run) -> Result<Contestant<'host>> {
    host.run(|| {
        // All of a prefix on `lo` is local.
        quietly(&mut command("ip", ["addr", "add", "198.51.100.1/24", "dev", "lo"]))?;
        quietly(&mut command("nft", [REDIRECT])).map(drop)
    })?;
    served("nft redirect", Role::Peer, host, &FAR, run)
}

fn jailed<'host>(name: &'static str, host: &'host Host, run: &Run) -> Result<Contestant<'host>> {
    let line = Line::jail(name, &["--backend", name], run);
    let connect = Talker::start(&line, &looped(&FAR, run)?, host)?;
    Ok(Contestant {
        name,
        role: Role::Ours,
        connect,
        _serve: None,
        host,
        rounds: Vec::new(),
    })
}

/// The loop's command line.
fn looped(to: &[&str; 2], run: &Run) -> Result<Vec<String>> {
    let program = built("connect", run.scratch())?.to_string_lossy().into_owned();
    let count = if run.quick { CONNECTS / 10 } else { CONNECTS }.to_string();
    Ok([program.as_str(), to[0], to[1], &count].map(str::to_owned).into())
}

impl Talker {
    fn start(line: &Line, command: &[String], host: &Host) -> Result<Talker> {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        line.prepare(&command)?;
        let stdio = || [Stdio::piped(), Stdio::piped(), Stdio::null()];
        Talker::of(host.run(|| line.spawn(&command, "", stdio()))?)
    }

    fn of(mut child: Child) -> Result<Talker> {
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.context("the output")?);
        Ok(Talker { child, input, output })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("read an answer")?;
        ensure!(line.ends_with('\n'), "it has ended");
        Ok(line.trim_end().to_owned())
    }

    fn ask(&mut self) -> Result<String> {
        self.input
            .as_mut()
            .context("the input")?
            .write_all(b"?")
            .context("ask")?;
        self.line()
    }

    fn connects(&mut self) -> Result<[f64; 2]> {
        let said = self.ask()?;
        let numbers: Vec<f64> = said.split(' ').filter_map(|number| number.parse().ok()).collect();
        numbers
            .try_into()
            .ok()
            .with_context(|| format!("the loop says `{said}`"))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // The loop ends with its input and a jail with its command; a proxy does neither.
        self.input = None;
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = quietly(&mut command("kill", [self.child.id().to_string()]));
        }
        // Nothing can be done about one that does not end.
        let _ = self.child.wait();
    }
}

fn row(ours: &str, all: &[Contestant<'_>]) -> Row {
    let samples = |one: &Contestant<'_>| {
        let us = |at: usize| one.rounds.iter().map(|round| round[at] / 1e3).collect::<Vec<f64>>();
        let mut samples = Samples::new(one.name, one.role, us(0));
        samples.also = vec![("us for socket, connect and close, mean", us(1))];
        samples
    };
    Row {
        goal: "G10",
        work: format!("connect, {ours}"),
        unit: "us p50",
        contestants: all
            .iter()
            .filter(|one| one.role != Role::Ours || one.name == ours)
            .map(samples)
            .collect(),
        aim: Aim::AtMost {
            ratio: 1.05,
            to: UNJAILED,
        },
        notes: vec!["the same proxy accepts in each: what it costs to accept is in all of them".into()],
    }
}

/// A row for each program that ran for most of the connections.
fn hooks(ebpf: &mut Contestant<'_>, run: &Run) -> Result<Vec<Row>> {
    let ids = ebpf.host.run(programs)?;
    ensure!(!ids.is_empty(), "no program of the jail is seen");
    let mut tool = Command::new(built("hooks", run.scratch())?);
    tool.args(&ids).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tool = Talker::of(tool.spawn().context("start the reader of hooks")?)?;
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..run.rounds {
        let before = read(&mut tool)?;
        ebpf.connect.connects()?;
        for (hook, before) in read(&mut tool)?.iter().zip(&before) {
            let times = hook.times - before.times;
            if times < (CONNECTS / 20) as f64 {
                continue;
            }
            let work = format!("hook {}", hook.name);
            let ns = (hook.ns - before.ns) / times;
            match rows.iter_mut().find(|row| row.work == work) {
                Some(row) => row.contestants[0].rounds.push(ns),
                None => rows.push(Row {
                    goal: "G10",
                    work,
                    unit: "ns",
                    contestants: vec![Samples::new("ebpf", Role::Ours, vec![ns])],
                    aim: Aim::AtMostAbsolute(300.0),
                    notes: vec![format!("the verifier looked at {} instructions", hook.verified)],
                }),
            }
        }
    }
    Ok(rows)
}

/// The programs that the processes on this thread's host hold, or hold links of.
fn programs() -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for pid in listed()? {
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            ids.extend(
                text.lines()
                    .filter_map(|line| line.strip_prefix("prog_id:"))
                    .map(|id| id.trim().to_owned()),
            );
        }
    }
    Ok(ids)
}

/// Until the empty line.
fn read(tool: &mut Talker) -> Result<Vec<Hook>> {
    let mut hooks = Vec::new();
    let mut said = tool.ask()?;
    while !said.is_empty() {
        hooks.push(hook(&said).with_context(|| format!("the reader of hooks says `{said}`"))?);
        said = tool.line()?;
    }
    Ok(hooks)
}

fn hook(line: &str) -> Option<Hook> {
    let mut words = line.split(' ');
    Some(Hook {
        name: words.next()?.to_owned(),
        times: words.next()?.parse().ok()?,
        ns: words.next()?.parse().ok()?,
        verified: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_read_from_its_line() {
        let read = hook("connect4 2000 500000 1040").map(|hook| (hook.name, hook.ns / hook.times, hook.verified));
        assert_eq!(read, Some(("connect4".into(), 250.0, "1040".into())));
        assert!(hook("connect4 many 1 2").is_none());
    }
}
