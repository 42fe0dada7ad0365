//! One of the contestants of `cargo xtask bench proxy`: started, put under load, and measured meanwhile.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use httpjail_lab::Space;

use crate::run::command;

/// What the kernel counts the processor time of /proc/PID/stat in, each second, on every architecture that Rust knows.
const USER_HZ: f64 = 100.0;

/// The load with what it goes through. Ended when dropped.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    proxy: Option<(&'static str, Child)>,
    load: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// Of one load: requests a second, processor time a request (us), median and 99th percentile of the time taken (us).
pub(super) type Figures = [f64; 4];

impl Contestant {
    /// Starts both. `line` is a proxy's if it has an `address`, otherwise what the load is put into.
    pub(super) fn start(
        name: &'static str,
        space: &Space,
        home: &Path,
        load: &Path,
        address: Option<&'static str>,
        line: &[&str],
    ) -> Result<Contestant> {
        let start = |command: &mut Command| {
            let command = command.env("HOME", home);
            space.run(|| command.spawn().with_context(|| format!("start {name}")))
        };
        let mut proxy = None;
        let mut command = pinned("1", load);
        if let [program, arguments @ ..] = line {
            let mut wrapper = pinned("0", program);
            wrapper.args(arguments);
            if let Some(address) = address {
                proxy = Some((address, start(wrapper.stdout(Stdio::null()))?));
                await_listener(space, address)?;
            } else {
                // The jail is on the proxies' processor, and the load moves to the other one once it is inside.
                wrapper.args(["taskset", "-c", "1"]).arg(load);
                command = wrapper;
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut load = start(&mut command)?;
        Ok(Contestant {
            name,
            proxy,
            to: load.stdin.take(),
            from: BufReader::new(load.stdout.take().context("the load's output")?),
            load,
        })
    }

    /// Puts the load on it.
    pub(super) fn bear(&mut self, protocol: &str, rate: u32, seconds: &str, origin: &str) -> Result<Figures> {
        let via = self.proxy.as_ref().map_or("", |(address, _)| address);
        let to = self.to.as_mut().context("the load's input")?;
        writeln!(to, "{protocol} {rate} {seconds} {origin} {via}").context("ask for the load")?;
        let mut line = || -> Result<String> {
            let mut line = String::new();
            self.from.read_line(&mut line).context("read from the load")?;
            Ok(line.trim_end().to_owned())
        };
        let go = line()?;
        ensure!(go == "go", "the load says `{go}`");
        let measured = self.proxy.as_ref().map_or(self.load.id(), |(_, child)| child.id());
        let (before, start) = (processor_time(measured)?, Instant::now());
        let figures = line()?;
        let (used, seconds) = (processor_time(measured)? - before, start.elapsed().as_secs_f64());
        let numbers: Vec<f64> = figures.split(' ').filter_map(|number| number.parse().ok()).collect();
        let &[requests, p50, p99] = numbers.as_slice() else {
            bail!("the load says `{figures}`");
        };
        Ok([requests / seconds, used * 1e6 / requests, p50, p99])
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // The load ends with its input, and a jail with its command.
        self.to = None;
        // Nothing can be done about one that does not.
        let _ = self.load.wait();
        if let Some((_, proxy)) = &mut self.proxy {
            let _ = proxy.kill().and_then(|()| proxy.wait());
        }
    }
}

pub(super) fn pinned(processor: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = command("taskset", ["-c", processor]);
    command.arg(program).stdin(Stdio::null());
    command
}

pub(super) fn await_listener(space: &Space, address: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while space.run(|| Ok(TcpStream::connect(address).is_err()))? {
        ensure!(Instant::now() < deadline, "nobody listens on {address}");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Seconds of a process and all below it, but for the load, which may be in its jail.
fn processor_time(pid: u32) -> Result<f64> {
    let mut seconds = 0.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("read the times of {pid}"))?;
    let (name, rest) = stat.rsplit_once(") ").context("a process's name")?;
    if !name.ends_with("(load") {
        // utime and stime, the 14th and the 15th field (proc_pid_stat(5)).
        let ticks = rest
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok());
        seconds += ticks.sum::<f64>() / USER_HZ;
    }
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("list the threads")? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            seconds += processor_time(child.parse().context("a process's number")?)?;
        }
    }
    Ok(seconds)
}
