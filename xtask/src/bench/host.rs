//! A host of its own for what is measured: PID, mount and network namespaces.
//!
//! A start looks at what else runs, so the machine's own processes must not be in its /proc. `benches/tools/crowd.c` is
//! PID 1, forks what shall run beside, and reaps what a sandbox does not wait for. It ends with its input, which this
//! process holds, and everything in the namespaces ends with it. So nothing stays behind, even when the bench is killed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use crate::run::{command, quietly, root};

/// What runs on a host besides what is measured.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Crowd {
    pub(super) processes: usize,
    /// Five new namespaces and three processes each, in place of containers of an engine.
    pub(super) containers: usize,
    /// Unix sockets that listen under a relative name, one in each of so many processes.
    pub(super) sockets: usize,
}

/// Ended when dropped, with all that runs in it.
#[derive(Debug)]
pub(super) struct Host {
    init: Child,
    talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    pids: File,
    net: File,
    mounts: File,
}

impl Host {
    /// Makes a host with `crowd` on it, which binds its sockets in a new directory below `scratch`.
    pub(super) fn with(crowd: Crowd, scratch: &Path) -> Result<Host> {
        let program = built("crowd", scratch)?;
        let dir = tempfile::Builder::new().prefix("host-").tempdir_in(scratch)?;
        let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut init = command("unshare", namespaces);
        init.arg(program)
            .args([crowd.processes, crowd.containers, crowd.sockets].map(|count| count.to_string()))
            // The names are gone with the directory, the sockets are not.
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut init = init.spawn().context("start unshare(1)")?;
        let mut said = String::new();
        let mut output = BufReader::new(init.stdout.take().context("the crowd's output")?);
        output.read_line(&mut said).context("read from the crowd")?;
        ensure!(said == "ready\n", "no host with {crowd:?} on it");
        let namespace = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", init.id());
            File::open(&path).with_context(|| format!("open {path}"))
        };
        let host = Host {
            pids: namespace("pid_for_children")?,
            net: namespace("net")?,
            mounts: namespace("mnt")?,
            talk: Mutex::new(init.stdin.take().map(|input| (input, output))),
            init,
        };
        host.run(|| quietly(&mut command("ip", ["link", "set", "lo", "up"])).map(drop))?;
        Ok(host)
    }

    /// Runs `work` on a thread that has entered the host. What it starts runs there; it can start no threads.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let entered = || {
            setns(&self.net, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
            // A thread that shares its root and working directory with others may not change mount namespace: setns(2).
            unshare(CloneFlags::CLONE_FS).context("stop sharing the working directory")?;
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).context("enter the mount namespace")?;
            setns(&self.pids, CloneFlags::CLONE_NEWPID).context("enter the PID namespace")?;
            work()
        };
        thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Returns how many milliseconds those have taken that nobody but PID 1 waited for, once they are gone.
    pub(super) fn orphans_ms(&self) -> Result<f64> {
        let mut talk = self.talk.lock().ok().context("PID 1 of the host")?;
        let (input, output) = talk.as_mut().context("PID 1 of the host")?;
        input.write_all(b"?").context("ask PID 1 of the host")?;
        let mut said = String::new();
        output.read_line(&mut said).context("hear PID 1 of the host")?;
        let microseconds: f64 = said
            .trim()
            .parse()
            .with_context(|| format!("PID 1 of the host says `{said}`"))?;
        Ok(microseconds / 1e3)
    }

    /// Returns the proportional share of memory of all processes on the host but for its first, in KiB.
    pub(super) fn pss_kib(&self) -> Result<f64> {
        self.run(|| {
            // One that has ended, or has no memory of its own, has no such file, or an empty one.
            let pss = |pid: u32| {
                let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
                numbers(&text, &["Pss:"]).unwrap_or_default()
            };
            Ok(listed()?.into_iter().filter(|pid| *pid != 1).map(pss).sum())
        })
    }

    /// Returns the processes on the host but for its first, as they are numbered there.
    pub(super) fn processes(&self) -> Result<Vec<u32>> {
        self.run(|| Ok(listed()?.into_iter().filter(|pid| *pid != 1).collect()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Ok(mut talk) = self.talk.lock() {
            *talk = None;
        }
        // Nothing can be done about one that does not end.
        let _ = self.init.wait();
    }
}

/// Returns the processes of this thread's host.
pub(super) fn listed() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("list /proc")?.flatten();
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Returns the sum of the numbers on those lines, if any is there.
pub(super) fn numbers(text: &str, names: &[&str]) -> Option<f64> {
    let value = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        names
            .contains(&name)
            .then(|| rest.split_whitespace().next()?.parse::<f64>().ok())?
    };
    text.lines().filter_map(value).reduce(|sum, value| sum + value)
}

/// Compiles one of `benches/tools` into `scratch`, without shared libraries, once.
pub(super) fn built(tool: &str, scratch: &Path) -> Result<PathBuf> {
    let program = scratch.join(tool);
    if !program.exists() {
        let source = root().join(format!("benches/tools/{tool}.c"));
        let mut compiler = command("cc", ["-O2", "-static", "-Wall", "-Werror", "-o"]);
        quietly(compiler.arg(&program).arg(source))?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_are_named_are_summed() {
        let text = "Slab:  100 kB\nSlabs: 7 kB\nPercpu:\t 20 kB\nPss: 1 kB\n";
        assert_eq!(numbers(text, &["Slab:", "Percpu:"]), Some(120.0));
        assert_eq!(numbers(text, &["Pss:"]), Some(1.0));
        assert_eq!(numbers(text, &["Rss:"]), None);
    }
}
