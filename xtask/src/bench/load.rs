//! The load, and what is measured while it works: processor time of the proxy, connections that the origin accepts.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::rig::{Process, Rig, pinned};
use super::run::Run;

/// A load generator that waits for orders.
pub(super) struct Load {
    // The load ends with its input.
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _process: Process,
}

/// What to ask for.
#[derive(Clone)]
pub(super) struct Order {
    /// As the load calls it: `http1`, `https1`, `h2`, `fresh`, `resumed`, `down`, `up`, `events`.
    pub(super) kind: &'static str,
    pub(super) connections: usize,
    /// Of each connection over h2.
    pub(super) streams: usize,
    pub(super) requests: usize,
    /// A second; 0 is as many as there can be.
    pub(super) rate: usize,
    /// Of a response; of `events`, their number.
    pub(super) bytes: usize,
    pub(super) path: &'static str,
    /// Asked of the endpoint, not of the origin.
    pub(super) endpoint: bool,
}

impl Order {
    /// The least of the origin: the rest of an order that says only what it is about.
    pub(super) const ONE: Order = Order {
        kind: "https1",
        connections: 1,
        streams: 1,
        requests: 1,
        rate: 0,
        bytes: 0,
        path: "/0",
        endpoint: false,
    };
}

/// What one round came to.
#[derive(Clone, Copy)]
pub(super) struct Figures {
    /// Of the proxy's processes, for each request. NaN without a proxy.
    pub(super) cpu_us: f64,
    pub(super) rate: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// That the origin accepted, for a thousand requests.
    pub(super) opened: f64,
    /// What the proxy's memory was at its largest above what it was before.
    pub(super) memory_mib: f64,
}

impl Load {
    pub(super) fn start(run: &Run, rig: &Rig, program: &Path) -> Result<Load> {
        let mut command = pinned("1", program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        run.note_command("load", &command);
        let mut process = rig.start(&mut command)?;
        let child = process.child();
        Ok(Load {
            to: child.stdin.take().context("the load's input")?,
            from: BufReader::new(child.stdout.take().context("the load's output")?),
            _process: process,
        })
    }

    /// Puts `order` on what listens at `to`, whose first process is `pid`. `ask`: that is a forward proxy.
    pub(super) fn put(&mut self, rig: &Rig, order: &Order, to: &str, ask: bool, pid: Option<u32>) -> Result<Figures> {
        let host = match order.kind {
            "http1" => "origin.test:9080",
            "h2" => "origin.test:9445",
            _ if order.endpoint => "origin.test:9444",
            _ => "origin.test:9443",
        };
        let Order {
            kind,
            connections,
            streams,
            requests,
            rate,
            bytes,
            path,
            endpoint: _,
        } = order;
        writeln!(
            self.to,
            "kind={kind} connections={connections} streams={streams} requests={requests} rate={rate} seconds=2 \
             bytes={bytes} path={path} host={host} to={to} ask={ask}"
        )
        .context("ask for the load")?;
        let warm = self.line()?;
        ensure!(warm == "warm", "the load says `{warm}`");
        let cpu = || pid.map_or(Ok(f64::NAN), processor_time);
        let memory = pid.map(Memory::before).transpose()?;
        let (cpu_before, opened_before) = (cpu()?, rig.accepted()?);
        writeln!(self.to).context("begin the load")?;
        let said = self.line()?;
        let (used, opened) = (cpu()? - cpu_before, rig.accepted()? - opened_before);
        let numbers: Vec<f64> = said.split(' ').filter_map(|number| number.parse().ok()).collect();
        let &[requests, seconds, p50_us, p99_us] = numbers.as_slice() else {
            bail!("the load says `{said}`");
        };
        ensure!(requests > 0.0, "no request came to its end");
        Ok(Figures {
            cpu_us: used / 1e3 / requests,
            rate: requests / seconds,
            p50_us,
            p99_us,
            opened: opened * 1e3 / requests,
            memory_mib: memory.map_or(Ok(f64::NAN), |memory| memory.grown_by())?,
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).context("read from the load")?;
        ensure!(read > 0, "the load has ended");
        Ok(line.trim_end().to_owned())
    }
}

/// Nanoseconds of a process and all below it, of all threads that live.
fn processor_time(pid: u32) -> Result<f64> {
    let mut time = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("list the threads of {pid}"))? {
        let task = task?.path();
        // One that has just ended counts nothing.
        let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        time += schedstat
            .split(' ')
            .next()
            .and_then(|run| run.parse::<f64>().ok())
            .unwrap_or(0.0);
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            time += processor_time(child.parse().context("a process's number")?).unwrap_or(0.0);
        }
    }
    Ok(time)
}

/// The resident memory of a process, before the load.
struct Memory {
    pid: u32,
    kib: f64,
}

impl Memory {
    fn before(pid: u32) -> Result<Memory> {
        // The peak begins again (proc_pid_clear_refs(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("forget the proxy's peak")?;
        let kib = resident(pid, "VmRSS:")?;
        Ok(Memory { pid, kib })
    }

    fn grown_by(&self) -> Result<f64> {
        Ok((resident(self.pid, "VmHWM:")? - self.kib) / 1024.0)
    }
}

fn resident(pid: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read the proxy's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("read {field} of the proxy"))
}
